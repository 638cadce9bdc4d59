"""The tabs that describe the frames of the story, show the attention on them, and search them."""

import html
from collections.abc import Iterator

import gradio as gr
from board import Board, note
from events import ON_MODEL, QUIET, READ_CAPTIONS, messages
from pictures import overlay, score_bar, story_cards, strip
from story import Storyteller

ALL_HEADS = "all heads"
OPTIONS = {"js": READ_CAPTIONS, **ON_MODEL}


def describe_tab(teller: Storyteller, story: list) -> None:
    """Lay out the tab that writes a caption for each frame.

    Args:
        teller: the model.
        story: the captions as they stand on the page, and the state with the board.
    """
    button = gr.Button("Describe the frames", variant="primary", elem_id="describe")
    output = gr.HTML(
        note("Each caption is written from its picture and from what comes before it; its own caption is not read."),
        elem_id="described",
    )

    def run(captions: list | None, board: Board) -> Iterator[str]:
        pages = board.with_captions(captions).story
        cards = [{**card, "text": "…"} for card in story_cards(pages)]
        yield strip(cards)
        for number, text in enumerate(teller.describe(pages.frames, pages.captions)):
            cards[number].update(text=text, label=f"{number + 1} · described")
            yield strip(cards)

    button.click(run, story, output, **OPTIONS)


def attention_tab(teller: Storyteller, story: list, tab: gr.Tab) -> None:
    """Lay out the tab that shows where the model looks.

    Args:
        teller: the model.
        story: the captions as they stand on the page, and the state with the board.
        tab: the tab, which is drawn when it is selected.
    """
    gr.Markdown(
        "What the model looks at glows. With the gamma that it learned you see its **gate**: how much of each place "
        "is passed on to the painter."
    )
    heads = [f"head {number + 1}" for number in range(teller.model.config.num_spatial_heads)]
    with gr.Row(equal_height=True, elem_id="attention-controls"):
        learned = round(teller.temperature, 2), round(teller.gamma, 2)
        slim = {"min_width": 220, "buttons": []}
        options = {"label": "Temperature", "info": "low: few places", "elem_id": "temperature", **slim}
        temperature = gr.Slider(0.1, 5, learned[0], step=0.01, **options)
        options = {"label": "Gamma", "info": "high: a hard cut", "elem_id": "gamma", **slim}
        gamma = gr.Slider(0, 3, 1, step=0.01, **options)
        head = gr.Dropdown([ALL_HEADS, *heads], value=ALL_HEADS, label="Shown", elem_id="head", min_width=150)
        with gr.Column(min_width=150, elem_id="attention-buttons"):
            attention = gr.Button("Attention", size="md", elem_id="attention", min_width=90)
            gate = gr.Button("Gate as learned", size="md", elem_id="gate", min_width=90)
    output = gr.HTML(elem_id="overlays")

    def run(board: Board, temperature: float, gamma: float, head: str) -> str:
        frames, maps = teller.attention_maps(board.story.frames, temperature)
        if head != ALL_HEADS:
            number = heads.index(head)
            maps = maps[:, number : number + 1]
        lit = [overlay(frame, one.mean(0), gamma) for frame, one in zip(frames, maps)]
        cards = story_cards(board.story)
        return strip([{**card, "picture": picture, "text": ""} for card, picture in zip(cards, lit)])

    inputs = [story[1], temperature, gamma, head]
    triggers = [tab.select, *(control.change for control in inputs[1:])]
    gr.on(triggers, run, inputs, output, trigger_mode="always_last", **ON_MODEL)
    attention.click(lambda: (learned[0], 1), None, [temperature, gamma], **QUIET)
    gate.click(lambda: learned, None, [temperature, gamma], **QUIET)


def find_tab(teller: Storyteller, story: list) -> None:
    """Lay out the tab that finds frames by a text and captions by a picture.

    Args:
        teller: the model.
        story: the captions as they stand on the page, and the state with the board.
    """
    query = gr.Textbox(label="Which frame does this text describe?", placeholder="A text", elem_id="query")
    with gr.Row():
        find_frame = gr.Button("Find frames", variant="primary", elem_id="find-frames", min_width=260)
        picture = gr.UploadButton(
            "Upload a picture to find its caption", file_types=["image"], elem_id="picture", min_width=260
        )
    output = gr.HTML(note("The model compares pictures and texts in the space that they share."), elem_id="ranking")

    def rank_frames(captions: list | None, board: Board, text: str | None) -> str:
        with messages():
            if not (text or "").strip():
                raise ValueError("text: got none, expected what the frame shows")
        pages = board.with_captions(captions).story
        scores = teller.similarity(pages.frames, [text])[:, 0].tolist()
        cards = [{**card, "score": score, "kind": ""} for card, score in zip(story_cards(pages), scores)]
        cards = sorted(cards, key=lambda card: -card["score"])
        cards[0]["kind"] = "best"
        return strip([{**card, "label": f"{card['label']} · {card['score']:.2f}"} for card in cards])

    def rank_captions(captions: list | None, board: Board, picture: str) -> str:
        with messages():
            texts = [caption for caption in board.with_captions(captions).story.captions if caption]
            if not texts:
                raise ValueError("captions: got none, expected at least one to choose from")
            frames = teller.open_files([picture])
        card = strip([{"picture": frames[0], "label": "your picture"}])
        scores = teller.similarity(frames, texts)[0].tolist()
        return f'<div class="found">{card}{_ranking(sorted(zip(scores, texts), reverse=True))}</div>'

    triggers = [find_frame.click, query.submit]
    gr.on(triggers, rank_frames, [*story, query], output, **OPTIONS)
    picture.upload(rank_captions, [*story, picture], output, **OPTIONS)


def _ranking(ranked: list[tuple[float, str]]) -> str:
    """Return captions with their cosines as an HTML list, in the order given."""
    lines = [f"<li><b>{score:.2f}</b> {html.escape(text)}{score_bar(score)}</li>" for score, text in ranked]
    return f'<ul class="ranks">{"".join(lines)}</ul>'
