"""The tab of the story: buttons that continue it, its editable cards, examples, uploads and downloads."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr
from board import EXAMPLES, Board, model_of, open_example, story_file, title_of
from events import ON_MODEL, QUIET, READ_CAPTIONS, messages
from story import LIKE_TEMPERATURE, MAX_PAGES, MAX_STEPS, Storyteller, check_count

SCRIPT = (Path(__file__).parent / "board.js").read_text(encoding="utf-8")
SAVE_FILE = """(file) => {
    const link = document.createElement('a');
    link.href = file.url; link.download = file.name; document.body.append(link); link.click(); link.remove(); }"""
LEGEND = (
    "The orange frames are written and painted by the model, those of the examples by "
    f"{model_of(EXAMPLES[0])}. Click a caption to change it; **Paint again** paints its frame from the changed caption."
)


def story_tab(teller: Storyteller, story: list, opening: Board) -> None:
    """Lay out the tab and connect its events.

    Args:
        teller: the model.
        story: the captions as they stand on the page, and the state with the board.
        opening: the board that is shown first.
    """
    with gr.Row(elem_id="actions"):
        carry_on = gr.Button("Continue", variant="primary", elem_id="continue", min_width=90)
        like = gr.Button("More like this", elem_id="like", min_width=90)
        future = gr.Button("Another future", elem_id="future", min_width=90)
        options = {"label": "Frames to add", "elem_id": "steps", "min_width": 160, "buttons": []}
        steps = gr.Slider(1, MAX_STEPS, value=3, step=1, **options)
    sources = gr.Row(elem_id="sources")
    cards = gr.HTML(opening.html(), js_on_load=SCRIPT, elem_id="board")
    gr.Markdown(LEGEND, elem_id="legend")
    shown = [cards, story[1]]
    with sources:
        _source_buttons(teller, shown)
    _file_buttons(teller, story, shown)

    def continue_story(captions: list | None, board: Board, steps: int) -> Iterator:
        board = board.with_captions(captions)
        yield from _continued(teller, Board.of(board.story), steps, None)

    def more_like_this(captions: list | None, board: Board, steps: int) -> Iterator:
        board = board.with_captions(captions)
        yield from _continued(teller, Board.of(board.beginning), board.num_continued or steps, LIKE_TEMPERATURE)

    def another_future(captions: list | None, board: Board, steps: int) -> tuple:
        board, steps = board.with_captions(captions), int(steps)
        with messages():
            steps = board.num_continued or steps
            check_count("frames to add", steps, MAX_STEPS)
            check_count("frames", board.start + steps, MAX_PAGES)
            return _shown(replace(board, futures=tuple(teller.futures(board.beginning, steps))))

    inputs, options = [*story, steps], {"js": READ_CAPTIONS, **ON_MODEL}
    carry_on.click(continue_story, inputs, shown, **options)
    like.click(more_like_this, inputs, shown, **options)
    future.click(another_future, inputs, shown, **{**options, "show_progress": "full"})
    _card_events(teller, cards, story, shown)


def _card_events(teller: Storyteller, cards: gr.HTML, story: list, shown: list) -> None:
    """Connect the buttons on the cards."""

    def paint_again(captions: list | None, board: Board, event: gr.EventData) -> tuple:
        board = board.with_captions(captions)
        with messages():
            check_page(board, event.index, first=1)
            return _shown(board.with_painted(teller.paint_again(board.story, event.index), event.index))

    def remove(captions: list | None, board: Board, event: gr.EventData) -> tuple:
        with messages():
            check_page(board, event.index)
            return _shown(board.with_captions(captions).without(event.index))

    def choose(board: Board, event: gr.EventData) -> tuple:
        return _shown(Board(board.futures[event.index], board.start))

    options = {"js": READ_CAPTIONS, **ON_MODEL}
    cards.paint(paint_again, story, shown, **options)
    cards.remove(remove, story, shown, **options)
    cards.choose(choose, story[1], shown, **QUIET)


def _source_buttons(teller: Storyteller, shown: list) -> None:
    """Add the buttons that begin another story."""
    options = {"file_count": "multiple", "file_types": ["image"], "size": "md", "min_width": 90}
    upload = gr.UploadButton("Your own pictures", elem_id="upload", **options)
    for number, folder in enumerate(EXAMPLES):
        icon = str(folder / "1.png")
        button = gr.Button(title_of(folder), icon=icon, size="md", elem_id=f"example-{number}", min_width=90)
        button.click(lambda folder=folder: _shown(open_example(teller, folder)), None, shown, **QUIET)

    def open_story(paths: list[str]) -> tuple:
        with messages():
            return _shown(Board.of(teller.story_class(teller.open_files(paths))))

    upload.upload(open_story, upload, shown, **QUIET)


def _file_buttons(teller: Storyteller, story: list, shown: list) -> None:
    """Add the buttons that take the story over, add pictures to it, and save it."""
    with gr.Row(elem_id="files"):
        use = gr.Button("Use these as my story", size="md", elem_id="use", min_width=90)
        options = {"file_count": "multiple", "file_types": ["image"], "size": "md", "min_width": 90}
        add = gr.UploadButton("Add pictures", elem_id="add", **options)
        save_buttons = [
            (gr.Button(f"Download as {name}", size="md", elem_id=f"save-{suffix[1:]}", min_width=90), suffix)
            for name, suffix in (("picture", ".png"), ("GIF", ".gif"))
        ]
    file = gr.JSON(visible=False)

    def add_pictures(captions: list | None, board: Board, paths: list[str]) -> tuple:
        with messages():
            check_count("frames", len(board.story) + len(paths), MAX_PAGES)
            added = teller.story_class(teller.open_files(paths))
        pages = [*board.with_captions(captions).story, *added]
        return _shown(Board.of(teller.story_class.from_pages(pages)))

    def use_story(captions: list | None, board: Board) -> tuple:
        gr.Info("All frames now count as yours. Continue goes on from the last.", title="Your story")
        return _shown(board.with_captions(captions).as_given())

    add.upload(add_pictures, [*story, add], shown, js=READ_CAPTIONS, **QUIET)
    use.click(use_story, story, shown, js=READ_CAPTIONS, **QUIET)
    for button, suffix in save_buttons:
        saved = button.click(
            lambda captions, board, suffix=suffix: story_file(board.with_captions(captions).story, suffix),
            story,
            file,
            js=READ_CAPTIONS,
            **QUIET,
        )
        saved.success(None, file, None, js=SAVE_FILE, api_visibility="private")


def check_page(board: Board, index: int, first: int = 0) -> None:
    """Raise `ValueError` where the board has no page `index` from `first` on."""
    if not first <= index < len(board.story):
        raise ValueError(f"frame: got {index + 1}, expected {first + 1} to {len(board.story)}")


def _continued(teller: Storyteller, board: Board, steps: int, temperature: float | None) -> Iterator[tuple]:
    """Yield the board with one more page at a time, and places for those that are missing."""
    steps = int(steps)
    with messages():
        check_count("frames to add", steps, MAX_STEPS)
        check_count("frames", len(board.story) + steps, MAX_PAGES)
        yield _shown(board, steps)
        for done, story in enumerate(teller.continue_story(board.story, steps, temperature), start=1):
            yield _shown(replace(board, story=story), steps - done)


def _shown(board: Board, num_waiting: int = 0) -> tuple[str, Board]:
    """Return the cards of a board, and the board for the state."""
    return board.html(num_waiting), board
