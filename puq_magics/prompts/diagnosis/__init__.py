"""The prompt of ``%puq_fix``: exception, frames, variables, redacted."""
