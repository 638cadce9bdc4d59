"""
Serve the demo of StoryAttn, on a Space or at home.

    python app.py --model FOLDER_OR_HUB_ID

It loads a published model by the code that was published with it, and makes no network calls itself.
"""

import argparse
import importlib.util
import os
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported, which asks for newer versions else

from story import Storyteller  # noqa: E402, I001 (before gradio, for ZeroGPU)
import gradio as gr  # noqa: E402
from board import EXAMPLES, open_example  # noqa: E402
from endpoints import add_endpoints  # noqa: E402
from knowledge import model_line  # noqa: E402
from story_tab import story_tab  # noqa: E402
from tabs import attention_tab, describe_tab, find_tab  # noqa: E402

HERE = Path(__file__).parent
DEFAULT_MODEL = str(HERE.parent / "checkpoints" / "storyattn-tiny")
OPENING = "the_farmer_in_the_rain"
FONT = ("ui-sans-serif", "system-ui", "sans-serif")
THEME = gr.themes.Soft(primary_hue="orange", neutral_hue="stone", font=FONT, font_mono=("ui-monospace", "monospace"))
THEME.set(
    block_title_background_fill="none",
    block_title_background_fill_dark="none",
    block_title_padding="0",
    block_title_text_color="*body_text_color",
    block_title_text_color_dark="*body_text_color",
)
# Gradio applies style.css only to what is inside of the page's margins.
NARROW = "<style>@media (max-width: 480px) { .gradio-container .main.app { padding: 10px 12px !important } }</style>"
MAX_WAITING = 20  # requests in the queue
MCP_MISSING = "The MCP server is off: it needs the package mcp (pip install 'gradio[mcp]')."


def build_app(teller: Storyteller, line: str) -> gr.Blocks:
    """Return the page: a story and what the model makes of it.

    Args:
        teller: the model.
        line: what the model knows.
    """
    opening = open_example(teller, next(folder for folder in EXAMPLES if folder.name == OPENING))
    with gr.Blocks(title="StoryAttn", analytics_enabled=False, delete_cache=(3600, 3600)) as app:
        gr.Markdown(
            f"# StoryAttn\nIt reads a picture story, frame by frame, and carries it on. {line}", elem_id="title"
        )
        story = [gr.JSON(visible=False), gr.State(opening)]  # the captions on the page, the board
        with gr.Tabs():
            with gr.Tab("Story"):
                story_tab(teller, story, opening)
            with gr.Tab("Describe"):
                describe_tab(teller, story)
            if teller.model.config.use_spatial_attention:
                with gr.Tab("Attention") as attention:
                    attention_tab(teller, story, attention)
            with gr.Tab("Find"):
                find_tab(teller, story)
        add_endpoints(teller)
    return app.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def main() -> None:
    """Load the model and serve the page until it is stopped; a wrong model ends it with one line."""
    parser = argparse.ArgumentParser(description="The demo of StoryAttn.")
    default = os.environ.get("STORYATTN_MODEL") or DEFAULT_MODEL
    parser.add_argument("--model", default=default, help="folder or Hub id of a published model")
    parser.add_argument("--num_frame_steps", type=int, help="steps in which a generative frame decoder samples, 1 to 8")
    parser.add_argument("--frame_guidance_scale", type=float, help="above 1: its frames follow their captions more")
    arguments = vars(parser.parse_args())
    try:
        teller = Storyteller(arguments.pop("model"), **arguments)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    has_mcp = importlib.util.find_spec("mcp") is not None
    if not has_mcp:
        print(MCP_MISSING, flush=True)
    build_app(teller, model_line(teller.name)).launch(
        theme=THEME,
        css_paths=HERE / "style.css",
        head=NARROW,
        footer_links=["api"],
        run_history=False,
        ssr_mode=False,
        share=False,
        max_file_size="20mb",
        mcp_server=has_mcp,
    )


if __name__ == "__main__":
    main()
