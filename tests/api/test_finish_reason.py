from __future__ import annotations

import pytest

from puq_magics.api.finish_reason import finish_kind

REASONS = {
    "complete": [
        None, "", "stop", "STOP", "FINISH_REASON_STOP", "eos", "eos_token", "end_turn", "stop_sequence", "tool_calls",
        "tool_use", "function_call", "COMPLETE", "stopped",
    ],
    "length": [
        "length", "max_tokens", "MAX_TOKENS", "max-tokens", "maxTokens", "max_output_tokens", "max_new_tokens",
        "model_length", "token_limit", "model_context_window_exceeded", "max_length", "FINISH_REASON_MAX_TOKENS",
        "ERROR_LIMIT",
    ],
    "filter": [
        "content_filter", "content-filter", "CONTENT_FILTERED", "SAFETY", "RECITATION", "BLOCKLIST", "refusal",
        "PROHIBITED_CONTENT", "SPII", "sensitive", "guardrail_intervened", "IMAGE_SAFETY", "moderation",
        "ERROR_TOXIC",
    ],
    "failed": [
        "error", "ERROR", "network_error", "abort", "aborted", "cancelled", "insufficient_system_resource", "timeout",
        "MALFORMED_FUNCTION_CALL", "internal_error",
    ],
    "unknown": ["OTHER", "pause_turn", "unknown", "LANGUAGE", "…"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "reason"), [(kind, each) for kind in REASONS for each in REASONS[kind]])
def test_each_spelling(kind: str, reason: str | None) -> None:
    assert finish_kind(reason) == kind
