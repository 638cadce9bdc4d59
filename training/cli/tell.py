"""`storyattn tell`: continue a picture story and save it: as a strip, an animation, a document or a web page."""

from ..common.access_flags import add_access_flags
from ..common.columns import add_column_flags
from ..common.command_line import CommandParser
from ..common.errors import one_line

COMMAND = "storyattn tell"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Continue a picture story: write its next captions, paint its next frames, and save all of it.",
        f'{COMMAND} --model runs/tiny --frames a.png b.png --captions "A fox." "It runs." --steps 3',
        f"{COMMAND} --model runs/tiny --dataset storyworld --split test --story 0 --given 3",
        f'{COMMAND} --model runs/tiny --frames a.png --next_captions "It rains." "The fox goes home."',
    )
    add = parser.add_topic("model and output").add_argument
    add("--model", required=True, metavar="MODEL", help="folder or Hub id of the model")
    add("--output", default="story.png", metavar="FILE", help="file for the story: .png, .jpg, .gif, .pdf or .html")
    add("--steps", type=int, help="how many captions and frames to add; default: 3, or as many as --next_captions")
    add("--device", help="cpu, cuda, ...; default: a GPU where there is one")
    add = parser.add_topic("pictures of your own").add_argument
    add("--frames", nargs="+", metavar="FILE", help="image files, in the order of the story")
    add("--captions", nargs="+", help="one caption per frame; left out: the model describes the frames first")
    add("--next_captions", nargs="+", metavar="TEXT", help="texts to paint, in place of what the model would write")
    add = parser.add_topic("pictures to read before the story, such as portraits of its characters").add_argument
    add("--reference_frames", nargs="+", metavar="FILE", help="image files; they are no part of the story")
    add("--reference_captions", nargs="+", metavar="TEXT", help="one text each, such as 'This is Mara.'")
    topic = parser.add_topic("or a story of a data set")
    add = topic.add_argument
    add("--dataset", help="storyworld, a folder or a Hub id with frames and captions")
    add("--split", default="test", help="split of the data set")
    add("--story", type=int, default=0, help="number of the story in the split, from 0")
    add("--given", type=int, default=3, help="how many frames of that story are given")
    add_column_flags(topic)
    add_access_flags(topic)
    add = parser.add_topic("how captions are written").add_argument
    add("--num_beams", type=int, default=1, help="beams of the search for captions")
    add("--do_sample", action="store_true", help="draw captions instead of taking the likeliest")
    add("--temperature", type=float, default=1.0, help="of drawing captions; needs --do_sample")
    add("--max_new_tokens", type=int, help="longest caption; default: the model's")
    add("--seed", type=int, default=0, help="of drawing captions and frames")
    add = parser.add_topic("how frames are sampled, by a generative frame decoder").add_argument
    add("--num_frame_steps", type=int, help="steps of the sampling, 1 to 8; default: 4")
    add("--frame_guidance_scale", type=float, help="above 1: frames follow their captions more closely; default: 1")
    add = parser.add_topic("several futures").add_argument
    add("--futures", type=int, default=1, help="how many futures of the story; each is saved in a file of its own")
    add("--rank_by", choices=("likelihood", "similarity"), help="put the best future first; default: as they come")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a wrong argument ends it with one line and exit status 2."""
    arguments = build_parser().parse_args(argv)
    from ..telling import output_files, tell

    with one_line(COMMAND):
        lines = tell(arguments)
    print("\n".join([*lines, f"saved to {', '.join(map(str, output_files(arguments)))}"]))
