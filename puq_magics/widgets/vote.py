"""Buttons to vote for the best answer of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from IPython.display import display
from ipywidgets import Button, HBox, Label, VBox  # type: ignore[import-untyped]


def show_vote_buttons(choices: Sequence[str], on_vote: Callable[[str], object]) -> Callable[[str], None]:
    """Show one button a choice, which calls ``on_vote``; return what ends the vote and shows who was chosen."""
    label = Label("Which answer is best?")
    buttons = [Button(description=choice, tooltip=f"Vote for {choice}") for choice in choices]

    def clicked(button: Button) -> None:
        on_vote(button.description)

    def end(winner: str) -> None:
        label.value = f"Your vote: {winner}"
        for each in buttons:
            each.disabled = True
            each.on_click(clicked, remove=True)

    for button in buttons:
        button.layout.width = "5em"
        button.on_click(clicked)
    box = VBox([label, HBox(buttons)])
    display(
        {
            **box._repr_mimebundle_(),
            "text/plain": f"Vote: %puq_compare --vote {choices[0]} (of {', '.join(choices)})",
        },
        raw=True,
    )
    return end
