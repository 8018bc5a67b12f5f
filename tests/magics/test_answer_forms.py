"""Answers in the forms that routers and models give them, as a user of the magics gets them."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from media_samples import png
from raw_server import DONE, delta, event

from puq_magics.api import chat
from puq_magics.core.errors import (
    APIConnectionError,
    InvalidResponseError,
    PaymentRequiredError,
    RateLimitError,
    ServerError,
)
from puq_magics.outputs.results.chat import ChatResult, append_images
from puq_magics.outputs.results.footer import Footer


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUQ_CHAT_MODEL", "a/b")


def completion(text: object, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text} | message, "finish_reason": finish}]}


def test_a_refusal_is_shown_and_marked(use_responses: Any, shell: Any) -> None:
    server = use_responses(completion(None, refusal="I cannot help."))
    ran = shell.run("%puq_chat --no-stream hi")
    assert "I cannot help." in ran.out
    assert "the model refused to answer" in ran.out
    assert (shell.names["_puq"].text, shell.names["_puq"].refusal) == ("I cannot help.", "I cannot help.")
    error = shell.error("%puq_chat --no-stream --schema 'name' hi")
    assert isinstance(error, InvalidResponseError)
    assert "the model refused: I cannot help." in error.message
    assert len(server.requests) == 2  # no repair is asked for


@pytest.mark.parametrize(
    ("reason", "said", "resumable"),
    [
        ("MAX_TOKENS", "cut off at the token limit (MAX_TOKENS)", True),
        ("SAFETY", "cut off by the content filter (SAFETY)", False),
        ("network_error", "cut off by a failure (network_error)", True),
        ("OTHER", "ended for a reason that is not known (OTHER)", False),
        ("end_turn", "", False),
    ],
)
@pytest.mark.parametrize("options", ["", "--no-stream"])
def test_the_footer_says_how_the_answer_ended(
    use_responses: Any, shell: Any, reason: str, said: str, resumable: bool, options: str
) -> None:
    whole = completion("Half an", reason)
    streamed = event(delta("Half an")) + event(delta("", reason)) + DONE
    use_responses(whole if options else streamed, kind="application/json" if options else "text/event-stream")
    ran = shell.run(f"%puq_chat {options} -o r hi")
    assert said in ran.out
    assert bool(said) == (reason in ran.out)
    assert shell.names["r"].is_truncated == resumable


CLASSES = """
import pydantic
from dataclasses import dataclass
from typing import Literal, TypedDict

class Review(pydantic.BaseModel):
    mood: Literal["good", "bad"]
    score: int = pydantic.Field(ge=1, le=5)

    @pydantic.field_validator("score")
    @classmethod
    def no_four(cls, value):
        if value == 4:
            raise ValueError("four is not a score")
        return value

@dataclass
class Flat:
    mood: str
    score: int

class Typed(TypedDict):
    mood: str
    score: int
"""


@pytest.mark.parametrize(
    ("schema", "answer", "parsed", "said"),
    [
        ("Review", '{"mood": "good", "score": 5}', "Review(mood='good', score=5)", ""),
        (
            "Flat",
            "{'mood': 'good', 'score': 5}",
            "Flat(mood='good', score=5)",
            "JSON repaired: single quotes",
        ),
        (
            "Typed",
            '{"mood": "good", "score": 5,}',
            "{'mood': 'good', 'score': 5}",
            "JSON repaired: trailing comma",
        ),
        ("list[Flat]", '[{"mood": "good", "score": 5}]', "[Flat(mood='good', score=5)]", ""),
        (
            "'[Review]'",
            '[{mood: "good", score: 5}]',
            "[Review(mood='good', score=5)]",
            "JSON repaired: unquoted keys",
        ),
        (
            "'reviews [Review]'",
            'Sure!\n```json\n{"reviews": [{"mood": "good" "score": 5}]}\n```',
            "{'reviews': [Review(mood='good', score=5)]}",
            "⚠ JSON repaired: by json-repair, compare .text",
        ),
        (
            "'mood good|bad, score int 1..5, note str?'",
            'Here: {"mood": "good", "score": 5, "note": NaN}',
            "{'mood': 'good', 'score': 5, 'note': None}",
            "⚠ JSON repaired: NaN or infinity made null, words around it",
        ),
        ("{{kind}}", '{"mood": "good"}', "{'mood': 'good'}", ""),
    ],
)
def test_instances_of_the_schema_s_type(
    use_responses: Any, shell: Any, schema: str, answer: str, parsed: str, said: str
) -> None:
    server = use_responses(completion(answer))
    shell.run(f"{CLASSES}\nkind = 'mood good|bad'")
    ran = shell.run(f"%puq_chat --no-stream -o r --schema {schema} hi")
    assert repr(shell.names["r"].parsed) == parsed
    assert json.dumps(shell.names["r"].data).count("good") == 1
    assert ("JSON repaired" in ran.out) == bool(said)
    assert said.removeprefix("⚠ ") in ran.out
    assert shell.names["r"].text == answer
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('{"mood": "good", "score": 4}', "four is not a score"),
        ('{"mood": "good", "score": 7,}', "greater than the maximum of 5"),
        ('{"mood": "good" score 3', "not JSON"),
    ],
)
def test_an_answer_that_the_type_refuses_is_asked_for_again(
    use_responses: Any, shell: Any, answer: str, told: str
) -> None:
    server = use_responses(completion(answer), completion('{"mood": "bad", "score": 3}'))
    shell.run(CLASSES)
    shell.run("%puq_chat --no-stream -o r --schema Review hi")
    assert repr(shell.names["r"].parsed) == "Review(mood='bad', score=3)"
    assert told in json.loads(server.requests[1].body)["messages"][-1]["content"]


def test_the_end_of_a_cut_answer_is_not_made_up(use_responses: Any, shell: Any) -> None:
    server = use_responses(completion('{"mood": "good", "score": 5', "length"))
    shell.run(CLASSES)
    assert "--continue" in shell.error("%puq_chat --no-stream -o r --schema Review hi").hint
    assert len(server.requests) == 1


def test_rows_have_columns_of_a_class(use_responses: Any, shell: Any, work_folder: Any) -> None:
    server = use_responses(
        completion('{"mood": "good", "score": 5}'), completion("{'mood': 'bad', 'score': 1,}")
    )
    shell.run(f"{CLASSES}\nrows = [{{'text': 'a'}}, {{'text': 'b'}}]")
    ran = shell.run("%%puq_map rows --schema Review --workers 1 -o rated\n{{text}}")
    assert [(row["mood"], row["score"]) for row in shell.names["rated"]] == [("good", 5), ("bad", 1)]
    assert [type(each).__name__ for each in shell.names["_puq"].parsed] == ["Review", "Review"]
    assert "JSON repaired in 1 answer: single quotes, trailing comma" in ran.out
    assert len(server.requests) == 2


DRAFT = '<think>A draft: {"age": 1}\n```python\ndraft()\n```\n</think>\n\n'


def test_reasoning_in_the_text_is_kept_apart(use_responses: Any, shell: Any) -> None:
    server = use_responses(
        completion(f'{DRAFT}{{"age": 7}}'), completion(f"{DRAFT}```python\nright()\n```"), completion("two")
    )
    shell.run("%puq_chat --no-stream -o r --schema 'age int' -c trip hi")
    result = shell.names["r"]
    assert result.data == {"age": 7}
    assert result.text.startswith("<think>")
    assert (result.answer_text, result.all_reasoning.splitlines()[0]) == ('{"age": 7}', 'A draft: {"age": 1}')
    shell.run("%puq_chat --no-stream -o r -f code hi")
    assert "right()" in shell.names["r"].text
    shell.run("%puq_chat --no-stream -c trip and now")
    sent = json.loads(server.requests[-1].body)["messages"]
    assert sent[1] == {"role": "assistant", "content": '{"age": 7}'}


@pytest.mark.parametrize("opening", ["<think>", ""])
def test_reasoning_in_a_stream_is_folded(
    use_responses: Any, fresh_kernel: Any, serve: Any, opening: str
) -> None:
    parts = [f"{opening}Two ", "and two\n</thi", "nk>\n\n", "It is **4**."]
    body = b"".join(event(delta(part)) for part in parts) + event(delta("", "stop")) + DONE

    def _answer(connection: Any) -> None:
        connection.send_head("200 OK", "text/event-stream")
        connection.send(body)

    server = serve(_answer, serves_lists=True)
    fresh_kernel.run(f"%config PuqMagics.base_url = '{server.url}'")
    reasoning, answer = fresh_kernel.run("%puq_chat -m a/b -o r hi").screen
    assert reasoning["text/markdown"].startswith("<details><summary>Reasoning</summary>")
    assert "Two and two" in reasoning["text/markdown"]
    assert answer["text/markdown"].startswith("It is **4**.")
    (again,) = fresh_kernel.run("r").contents("display_data")
    assert again["data"]["text/markdown"].startswith("<details><summary>Reasoning</summary>")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            {"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]},
            "1 tool call in .calls",
        ),
        ({"function_call": {"name": "f", "arguments": "{}"}}, "1 tool call in .calls"),
        ({"images": [{"type": "image_url"}, {"type": "image_url"}]}, "2 images in .raw"),
        ({"audio": {"data": "AAAA"}}, "1 recording in .raw"),
        ({}, "no text came"),
    ],
)
def test_what_came_instead_of_text_is_said(
    use_responses: Any, shell: Any, message: dict[str, Any], said: str
) -> None:
    use_responses(completion("", **message))
    ran = shell.run("%puq_chat --no-stream -o r hi")
    assert said in ran.out
    assert ("no text came" in ran.out) == (said == "no text came")


def test_a_cost_that_the_router_reports_is_the_cost(use_responses: Any, shell: Any) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.25}
    use_responses(completion("Hello.") | {"usage": usage})
    shell.run("%puq_chat --no-stream -o r hi")
    assert shell.names["r"].cost == 0.25


QUOTA = {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (("429 Too Many Requests", QUOTA), PaymentRequiredError),
        (("429 Too Many Requests", {"message": "Insufficient balance"}), PaymentRequiredError),
        (
            ("403 Forbidden", {"code": 30001, "message": "insufficient_balance"}),
            PaymentRequiredError,
        ),
        (("400 Bad Request", {"error": {"message": "Your credit balance is too low"}}), PaymentRequiredError),
        (
            ("429 Too Many Requests", {"error": {"type": "insufficient_quota", "code": 1}}),
            PaymentRequiredError,
        ),
        (("429 Too Many Requests", {"error": "Your account is in arrears"}), PaymentRequiredError),
        (
            ("429 Too Many Requests", {"error": {"code": "credits_exhausted", "message": "x"}}),
            PaymentRequiredError,
        ),
        (("503 Service Unavailable", {"error": {"code": "insufficient_user_quota"}}), PaymentRequiredError),
    ],
)
def test_a_spent_quota_is_not_retried(
    use_responses: Any, shell: Any, answer: Any, error: type[Exception]
) -> None:
    server = use_responses(answer)
    raised = shell.error("%puq_chat --no-stream hi")
    assert type(raised) is error
    assert "quota is used up" in raised.message
    assert [request.method for request in server.requests] == ["POST"]


@pytest.mark.parametrize(
    "error",
    [
        {"message": "You exceeded your current quota: 15 requests per minute"},
        {"message": "Resource has been exhausted (e.g. check quota).", "status": "RESOURCE_EXHAUSTED"},
        "Too many requests",
    ],
)
def test_a_rate_limit_is_no_spent_quota(use_responses: Any, shell: Any, error: Any) -> None:
    use_responses(("429 Too Many Requests", {"error": error}))
    shell.run("%config PuqMagics.max_retries = 0")
    assert isinstance(shell.error("%puq_chat --no-stream hi"), RateLimitError)


@pytest.mark.parametrize(
    ("answer", "error", "is_counted"),
    [
        (("500 Internal Server Error", {"error": "no"}), ServerError, True),
        (("504 Gateway Timeout", b"<html>late</html>"), ServerError, True),
        (("503 Service Unavailable", {"error": "no"}), ServerError, False),
        ({"code": 1, "msg": "no"}, InvalidResponseError, True),
    ],
)
def test_what_may_have_been_charged_is_counted(
    use_responses: Any, shell: Any, answer: Any, error: type[Exception], is_counted: bool
) -> None:
    use_responses(answer)
    shell.run("%config PuqMagics.max_retries = 0")
    assert isinstance(shell.error("%puq_chat --no-stream hi"), error)
    costs = shell.session.account().costs
    assert bool(costs.unpriced_calls or costs.estimated_total) == is_counted


def test_a_request_that_was_cut_is_counted_and_one_that_never_arrived_is_not(serve: Any, shell: Any) -> None:
    server = serve(lambda _: None)  # closes the connection
    shell.run(f"%config PuqMagics.base_url = '{server.url}'")
    error = shell.error("%puq_chat -m a/b hi")
    assert isinstance(error, APIConnectionError)
    assert error.was_sent
    assert shell.session.account().costs.unpriced_calls == 1
    shell.run("%config PuqMagics.base_url = 'http://127.0.0.1:9'\n%config PuqMagics.max_retries = 0")
    error = shell.error("%puq_chat -m a/b hi")
    assert isinstance(error, APIConnectionError)
    assert not error.was_sent
    assert shell.session.account().costs.unpriced_calls == 0


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


IMAGE = {"type": "image_url", "image_url": {"url": data_url(png())}}


@pytest.mark.parametrize(
    "fields",
    [
        {"images": [IMAGE]},
        {"images": [data_url(png())]},
        {"image": {"url": data_url(png())}},
        {"content": [{"type": "text", "text": "Here:"}, IMAGE]},
        {"content": [{"type": "output_image", "image_url": data_url(png(), "webp")}]},
    ],
)
@pytest.mark.parametrize("options", ["", "--no-stream"])
def test_images_of_a_chat_are_shown_and_saved(
    use_responses: Any, shell: Any, work_folder: Path, fields: dict[str, Any], options: str
) -> None:
    message = {"content": ""} | fields
    streamed = event({"choices": [{"index": 0, "delta": message}]}) + event(delta("", "stop")) + DONE
    whole = {"choices": [{"message": message, "finish_reason": "stop"}]}
    use_responses(whole if options else streamed, kind="application/json" if options else "text/event-stream")
    ran = shell.run(f"%puq_chat {options} -o r hi")
    assert "1 image in .raw" in ran.out
    assert "no text came" not in ran.out
    result = shell.names["r"]
    assert result.images == (png(),)
    assert "saved puq_media/hi-1.png" in ran.out
    assert (work_folder / "puq_media" / "hi-1.png").read_bytes() == png()
    assert result.to_images().images[0].format == "png"
    assert (
        f"![image](data:image/png;base64,{b64encode(png()).decode()})"
        in result.bundle(Footer())["text/markdown"]
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.png",
        data_url(png()[:-9]),
        data_url(b"<svg onload='alert(1)'/>", "svg+xml"),
        data_url(b"<script>", "png"),
        "data:image/png;base64,****",
        "data:image/png;base64," + b64encode(png()).decode() + "\n)<script>",
        "data:text/html;base64," + b64encode(png()).decode(),
    ],
)
def test_what_is_no_image_of_its_own_is_not_shown(use_responses: Any, shell: Any, url: str) -> None:
    use_responses(completion("a", images=[{"image_url": {"url": url}}]))
    shell.run("%puq_chat --no-stream -o r hi")
    result = shell.names["r"]
    assert result.images == ()
    assert result.bundle(Footer())["text/markdown"] == "a"
    assert result.raw["choices"][0]["message"]["images"] == [{"image_url": {"url": url}}]


def test_more_images_than_a_display_holds_are_in_the_result() -> None:
    images = [png(extra=4_000_000), png(extra=4_000_000), png(extra=4_000_000), png()]
    shown = append_images("a", images)
    assert shown.count("![image]") == 2
    assert shown.startswith("a\n\n![image](data:image/png;base64,")


def test_an_image_is_shown_below_the_streamed_text(fresh_kernel: Any, serve: Any) -> None:
    def answer(connection: Any) -> None:
        connection.send_head()
        connection.send(
            event(delta("Here it is.")) + event(delta(images=[IMAGE])) + event(delta("", "stop")) + DONE
        )

    fresh_kernel.run(f"%config PuqMagics.base_url = '{serve(answer).url}'")
    (bundle,) = fresh_kernel.run("%puq_chat -m a/b hi").screen
    text, image, footer = bundle["text/markdown"].split("\n\n")
    assert (text, image[:31]) == ("Here it is.", "![image](data:image/png;base64,")
    assert "1 image in" in footer
    assert "base64" not in bundle["text/plain"]


CITED = {"url": "https://a.example/x_(1)", "title": "A [title](javascript:x()) <b>"}
CITATIONS = ["https://a.example/x_(1)", "javascript:alert(1)"]


@pytest.mark.parametrize(
    ("fields", "more", "titles"),
    [
        ({"annotations": [{"type": "url_citation", "url_citation": CITED}] * 2}, {}, [CITED["title"]]),
        ({"annotations": [{"type": "url_citation", **CITED}]}, {}, [CITED["title"]]),
        ({}, {"citations": CITATIONS, "search_results": [CITED]}, [CITED["title"], "javascript:alert(1)"]),
        ({"content": [{"type": "text", "text": "a", "citations": [CITED]}]}, {}, [CITED["title"]]),
        ({"context": {"citations": [{"title": "A.pdf", "filepath": "A.pdf"}]}}, {}, ["A.pdf"]),
        ({"annotations": [{"type": "file_citation", "file_citation": {"file_id": "f1"}}]}, {}, ["f1"]),
        ({"citations": [None, 1, {}, {"url": ""}, " "]}, {}, []),
    ],
)
@pytest.mark.parametrize("options", ["", "--no-stream"])
def test_sources_are_listed(
    use_responses: Any,
    shell: Any,
    fields: dict[str, Any],
    more: Any,
    titles: list[str],
    options: str,
    tmp_path: Path,
) -> None:
    message = {"content": "a"} | fields
    streamed = event({"choices": [{"index": 0, "delta": message}]} | more) + event(delta("", "stop")) + DONE
    whole = {"choices": [{"message": message, "finish_reason": "stop"}]} | more
    use_responses(whole if options else streamed, kind="application/json" if options else "text/event-stream")
    ran = shell.run(f"%puq_chat {options} --chat c -o r hi")
    shell.run(f"%puq_chats c --export {tmp_path}/c.md")
    assert ("*Sources:*" in (tmp_path / "c.md").read_text(encoding="utf-8")) == bool(titles)
    result = shell.names["r"]
    assert [source.title or source.url for source in result.sources] == titles
    bundle = result.bundle(Footer())
    assert ("Sources:" in ran.out) == ("Sources:" in bundle["text/plain"]) == bool(titles)
    for number, title in enumerate(titles, 1):
        assert f"{number}. {title}" in ran.out
        assert f"{number}. {title}" in bundle["text/plain"]
    assert ("in .raw" in ran.out) == (not titles)
    markdown = bundle["text/markdown"]
    assert markdown.count("](http") == sum("title" in title for title in titles)
    assert "](javascript" not in markdown
    assert "<b>" not in markdown


def test_sources_without_text_are_something() -> None:
    result = ChatResult(text="", model="a/b", raw={"citations": ["https://a.example"]})
    assert result.has_content
    assert "no text came" not in result.footer.to_text()
    assert "(1)" in result.bundle(Footer())["text/markdown"]
    as_data = ChatResult(text="{}", model="a/b", raw=result.raw, format="json")
    assert "1 source in .raw" in as_data.footer.to_text()


def test_more_sources_than_anyone_reads() -> None:
    result = ChatResult(
        text="a", model="a/b", raw={"citations": [f"https://a.example/{n}" for n in range(150)]}
    )
    bundle = result.bundle(Footer())
    assert "50 more are in .raw" in bundle["text/plain"]
    assert bundle["text/markdown"].count("](https") == 100


def test_a_fault_while_reading_keeps_what_came(
    use_responses: Any, shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_choices = chat.read_choices

    def _read(chunk: Any) -> Any:
        if "later" in str(chunk):
            raise TypeError("a fault")
        return read_choices(chunk)

    monkeypatch.setattr(chat, "read_choices", _read)
    use_responses(event(delta("Half ")) + event(delta("later")) + DONE, kind="text/event-stream")
    error = shell.error("%puq_chat -o r hi")
    assert error.message == "the answer could not be read (TypeError: a fault)."
    assert (shell.names["_puq"].text, shell.names["r"].status) == ("Half ", "incomplete")
    assert len(shell.session.ledger.entries()) == 1


SLOW_FEED = """
import time
from puq_magics.outputs.markdown.feed import MarkdownFeed
feed = MarkdownFeed.feed

def slow(self, text):
    if len(text) > 100_000:
        print("feeding", flush=True)
        time.sleep(30)
    return feed(self, text)

MarkdownFeed.feed = slow
"""


def test_an_interrupt_while_a_large_event_is_shown(fresh_kernel: Any, serve: Any) -> None:
    text = "word " * 100_000

    def _answer(connection: Any) -> None:
        connection.send_head("200 OK", "text/event-stream")
        connection.send(event(delta("Begin. ")) + event(delta(text)))
        connection.wait_for_disconnect()

    server = serve(_answer, serves_lists=True)
    fresh_kernel.run(f"{SLOW_FEED}\n%config PuqMagics.base_url = '{server.url}'")
    cell = fresh_kernel.run("%puq_chat -m a/b hi", fresh_kernel.interrupt_at("feeding"))
    fresh_kernel.run("MarkdownFeed.feed = feed")  # the process serves other tests, too
    assert cell.error["ename"] == "Interrupted"
    shown = "".join(bundle["text/plain"] for bundle in cell.screen if "text/plain" in bundle)
    assert "characters more are in _puq.text" in shown
    assert len(shown) < 30_000
    assert fresh_kernel.value("[len(_puq.text), _puq.status]") == [len("Begin. ") + len(text), "interrupted"]
