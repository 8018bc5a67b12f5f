"""Prompts: templates, values, attachments, schemas, conversations and diagnosis."""
