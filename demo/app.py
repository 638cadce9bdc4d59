"""
Serve the demo of StoryAttn, on a Space or at home.

    python app.py --model FOLDER_OR_HUB_ID

It loads a published model by the code that was published with it, and makes no network calls itself.
"""

import argparse
import html
import os
from collections.abc import Iterator
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported, which asks for newer versions else

import gradio as gr  # noqa: E402
from pictures import overlay, score_bar, strip  # noqa: E402
from PIL import Image  # noqa: E402
from story import Storyteller, read_story  # noqa: E402

HERE = Path(__file__).parent
EXAMPLES = sorted(path for path in (HERE / "examples").iterdir() if path.is_dir())
DEFAULT_MODEL = str(HERE.parent / "checkpoints" / "storyattn-tiny")
ALL_HEADS = "all heads"
FONT = ("ui-sans-serif", "system-ui", "sans-serif")
THEME = gr.themes.Soft(primary_hue="orange", neutral_hue="stone", font=FONT, font_mono=("ui-monospace", "monospace"))
# Gradio applies style.css only to what is inside of the page's margins.
NARROW = "<style>@media (max-width: 480px) { .gradio-container .main.app { padding: 14px 12px !important } }</style>"


def build_app(teller: Storyteller) -> gr.Blocks:
    """Return the page: the story on one side, what the model makes of it on the other."""
    with gr.Blocks(title="StoryAttn", analytics_enabled=False) as app:
        gr.Markdown("# StoryAttn\nIt reads a picture story, frame by frame, and carries it on.", elem_id="title")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                story = _story_inputs()
            with gr.Column(scale=3, min_width=300), gr.Tabs():
                with gr.Tab("Continue"):
                    _continue_tab(teller, story)
                with gr.Tab("Describe"):
                    _describe_tab(teller, story)
                if teller.model.config.use_spatial_attention:
                    with gr.Tab("Attention") as attention:
                        _attention_tab(teller, story, attention)
                with gr.Tab("Find"):
                    _find_tab(teller, story)
    return app


def _story_inputs() -> list[gr.components.Component]:
    gr.Markdown("**Frames**, in the order of the story")
    frames = gr.Gallery(
        show_label=False,
        type="filepath",
        format="png",
        file_types=["image"],
        columns=2,
        height=300,
        object_fit="cover",
        interactive=True,
        buttons=[],
        elem_id="frames",
    )
    captions = gr.Textbox(
        label="Captions",
        info="A line for each frame; an empty line where there is none. All may be left out.",
        lines=4,
        max_lines=10,
        elem_id="captions",
    )
    gr.Markdown("Or start with a drawn story:")
    for number, folder in enumerate(EXAMPLES):
        icon = str(folder / "1.png")
        title = folder.name.replace("_", " ").capitalize()
        button = gr.Button(title, icon=icon, size="md", elem_id=f"example-{number}", elem_classes="example")
        button.click(lambda folder=folder: _example(folder), None, [frames, captions], show_progress="hidden")
    return [frames, captions]


def _example(folder: Path) -> tuple[list[Image.Image], str]:
    text = (folder / "captions.txt").read_text().rstrip("\n")
    return [Image.open(folder / f"{number}.png") for number in range(1, len(text.split("\n")) + 1)], text


def _continue_tab(teller: Storyteller, story: list) -> None:
    steps = gr.Slider(1, 6, value=3, step=1, label="Frames to add", elem_id="steps")
    button = gr.Button("Continue the story", variant="primary", elem_id="continue")
    output = gr.HTML(_note("The model writes the next caption, paints its frame, and goes on from there."))

    def run(gallery: list | None, text: str, num_steps: int) -> Iterator[str]:
        frames, captions = _read_story(teller, gallery, text)
        cards = _story_cards(frames, captions)
        last = len(cards) + num_steps
        yield strip([*cards, _placeholder(len(cards) + 1, last)])
        for picture, caption in teller.continue_story(frames, captions, num_steps):
            label = f"{len(cards) + 1} · painted"
            cards.append({"picture": picture, "label": label, "text": caption, "kind": "generated"})
            yield strip([*cards, _placeholder(len(cards) + 1, last)] if len(cards) < last else cards)

    button.click(run, [*story, steps], output, show_progress="hidden")


def _describe_tab(teller: Storyteller, story: list) -> None:
    button = gr.Button("Describe the frames", variant="primary", elem_id="describe")
    output = gr.HTML(
        _note("Each caption is written from its picture and from what comes before it; its own caption is not read.")
    )

    def run(gallery: list | None, text: str) -> Iterator[str]:
        frames, captions = _read_story(teller, gallery, text)
        cards = [{**card, "text": "…"} for card in _story_cards(frames, captions)]
        yield strip(cards)
        for card, caption in zip(cards, teller.describe(frames, captions)):
            card.update(text=caption, label=f"{card['label']} · described")
            yield strip(cards)

    button.click(run, story, output, show_progress="hidden")


def _attention_tab(teller: Storyteller, story: list, tab: gr.Tab) -> None:
    gr.Markdown("Bright places pass the spatial attention, dark places are cut away.")
    heads = [f"head {number + 1}" for number in range(teller.model.config.num_spatial_heads)]
    with gr.Row():
        learned = round(teller.temperature, 2), round(teller.gamma, 2)
        temperature = gr.Slider(
            0.1, 5, learned[0], step=0.01, label="Temperature", info="low: few places", elem_id="temperature"
        )
        gamma = gr.Slider(0, 3, learned[1], step=0.01, label="Gamma", info="high: a hard cut", elem_id="gamma")
    with gr.Row(equal_height=True):
        head = gr.Dropdown([ALL_HEADS, *heads], value=ALL_HEADS, label="Shown", elem_id="head")
        reset = gr.Button("As learned", size="md")
    output = gr.HTML(elem_id="overlays")

    def run(gallery: list | None, temperature: float, gamma: float, head: str) -> str:
        if not gallery:
            return _note("No frames yet: upload some or pick a story.")
        frames, gates = teller.attention_gates(_read_story(teller, gallery, None)[0], temperature, gamma)
        if head != ALL_HEADS:
            number = heads.index(head)
            gates = gates[:, number : number + 1]
        lit = [overlay(frame, gate) for frame, gate in zip(frames, gates)]
        return strip([{"picture": picture, "label": str(number)} for number, picture in enumerate(lit, start=1)])

    inputs = [story[0], temperature, gamma, head]
    gr.on(
        [tab.select, *(control.change for control in inputs)],
        run,
        inputs,
        output,
        show_progress="hidden",
        trigger_mode="always_last",
    )
    reset.click(lambda: learned, None, [temperature, gamma], show_progress="hidden")


def _find_tab(teller: Storyteller, story: list) -> None:
    query = gr.Textbox(label="Find the frame that this text describes", placeholder="A text", elem_id="query")
    find_frame = gr.Button("Find frames", variant="primary", elem_id="find-frames")
    frame_ranking = gr.HTML(elem_id="frame-ranking")
    picture = gr.Image(
        label="Find the caption that describes this picture", type="filepath", height=200, elem_id="picture", buttons=[]
    )
    find_caption = gr.Button("Find captions", variant="primary", elem_id="find-captions")
    caption_ranking = gr.HTML(elem_id="caption-ranking")

    def rank_frames(text: str | None, gallery: list | None, captions: str) -> str:
        frames, _ = _read_story(teller, gallery, captions)
        if not (text or "").strip():
            raise _error("text: got none, expected what the frame shows")
        scores = teller.similarity(frames, [text])[:, 0].tolist()
        order = sorted(range(len(frames)), key=lambda index: -scores[index])
        cards = [{"picture": frames[i], "label": f"{i + 1} · {scores[i]:.2f}", "score": scores[i]} for i in order]
        cards[0]["kind"] = "best"
        return strip(cards)

    def rank_captions(picture: str | None, gallery: list | None, text: str) -> str:
        if picture is None:
            raise _error("picture: got none, expected one to find captions for")
        captions = [caption for caption in _read_story(teller, gallery, text)[1] if caption]
        if not captions:
            raise _error("captions: got none, expected at least one to choose from")
        frames, _ = _read_story(teller, [(picture, None)], None)
        scores = teller.similarity(frames, captions)[0].tolist()
        return _ranking(sorted(zip(scores, captions), reverse=True))

    gr.on([find_frame.click, query.submit], rank_frames, [query, *story], frame_ranking, show_progress_on=frame_ranking)
    find_caption.click(rank_captions, [picture, *story], caption_ranking)


def _read_story(
    teller: Storyteller, gallery: list | None, text: str | None
) -> tuple[list[Image.Image], list[str | None]]:
    """Return `read_story` with its frames opened, its errors as messages on the page."""
    try:
        pictures, captions = read_story(gallery, text)
        return teller.open_frames(pictures), captions
    except ValueError as error:
        raise _error(str(error)) from error


def _error(message: str) -> gr.Error:
    return gr.Error(message, title="That does not work yet", print_exception=False)


def _story_cards(frames: list[Image.Image], captions: list[str | None]) -> list[dict]:
    return [
        {"picture": picture, "label": str(number), "text": caption}
        for number, (picture, caption) in enumerate(zip(frames, captions), start=1)
    ]


def _placeholder(number: int, last: int) -> dict:
    return {"picture": None, "label": f"{number} of {last}", "text": "being written and painted …", "kind": "generated"}


def _ranking(ranked: list[tuple[float, str]]) -> str:
    """Return captions with their cosines as an HTML list, in the order given."""
    lines = [f"<li><b>{score:.2f}</b> {html.escape(text)}{score_bar(score)}</li>" for score, text in ranked]
    return f'<ul class="ranks">{"".join(lines)}</ul>'


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>'


def main() -> None:
    """Load the model and serve the page until it is stopped; a wrong model ends it with one line."""
    parser = argparse.ArgumentParser(description="The demo of StoryAttn.")
    default = os.environ.get("STORYATTN_MODEL") or DEFAULT_MODEL
    parser.add_argument("--model", default=default, help="folder or Hub id of a published model")
    arguments = parser.parse_args()
    try:
        teller = Storyteller(arguments.model)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    app = build_app(teller)
    app.launch(
        theme=THEME,
        css_paths=HERE / "style.css",
        head=NARROW,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        share=False,
        max_file_size="20mb",
    )


if __name__ == "__main__":
    main()
