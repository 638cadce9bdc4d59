"""
Measure the futures that a model paints of stories of StoryWorld: are they possible, do they differ, do they hold.

    python benchmarks/futures.py checkpoints/storyattn-tiny --num_stories 50

Of each story of `validation` one transition is taken, all positions alike. Painted frames are read by the world's state
reader, and the next state is legal where an event of the world leads there from the true last state. The table has a
row for the model at each number of steps, and one for a regressing model; the page shows the futures of some stories,
by four steps where they are among those that are measured.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from agreement import Agreement
from measuring import add_common_flags, describe_hardware, hardware, new_parser, positive, results_table, write_json
from measuring import take_turns as seconds_of
from PIL import Image
from storyattn import Story, StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.frame_sampling import DEFAULT_STEPS
from storyattn.losses import changed_pixels, sobel_gradients
from storyattn.story_drawing import PAINTED, TARGET, Cell, draw_grid
from storyattn.story_memory import pages_to_read
from storyattn.training.evaluation.distribution_metrics import DistributionMetrics
from storyattn.training.evaluation.instruments import load_instruments
from storyattn.training.figures import save_picture
from storyattn.training.models.load import load_model
from storyattn.training.storyworld import generate_story
from storyattn.training.storyworld.legality import is_twice, legal_kinds
from storyattn.training.storyworld.state_reader import state_reader
from storyattn.training.storyworld.states import PictureState

NUM_FRAMES = 6  # of a story
GIVEN = 2  # frames that a rollout begins with
COLUMNS = {
    "Model": ("model", "{}"),
    "legal": ("legal", "{:.2f}"),
    "and something happens": ("legal_changes", "{:.2f}"),
    "distinct legal": ("distinct_legal", "{:.2f}"),
    "distinct kinds": ("distinct_kinds", "{:.2f}"),
    "l1_changed, best": ("best_l1_changed", "{:.3f}"),
    "mean": ("mean_l1_changed", "{:.3f}"),
    "distance": ("distance", "{:.3f}"),
    "Frechet": ("frechet", "{:.2f}"),
    "exact with caption": ("exact_captioned", "{:.2f}"),
    "rollout, legal steps": ("rollout_legal", "{:.2f}"),
    "somebody twice": ("rollout_twice", "{:.2f}"),
    "told, legal steps": ("told_legal", "{:.2f}"),
    "told, twice": ("told_twice", "{:.2f}"),
    "told, caption fits picture": ("told_painted", "{:.2f}"),
    "floor": ("told_painted_floor", "{:.2f}"),
    "told, caption fits description": ("told_described", "{:.2f}"),
    "its floor": ("told_described_floor", "{:.2f}"),
    "time of one step": ("time_over_one_step", "{:.2f}"),
}


class Model:
    """A model with a number of steps, and its processor.

    Args:
        model, processor: the two.
        steps: of the sampling; `None` for a regressing model.
        guidance: `frame_guidance_scale`.
    """

    def __init__(
        self,
        model: StoryAttnForConditionalGeneration,
        processor: StoryAttnProcessor,
        steps: int | None = None,
        guidance: float | None = None,
    ):
        self.model, self.processor = model, processor
        self.options = {"num_frame_steps": steps, "frame_guidance_scale": guidance}
        self.name = "regression" if steps is None else f"flow, {steps} step{'s' * (steps > 1)}"

    @property
    def samples(self) -> bool:
        """Whether two frames of one story may differ."""
        return self.model.config.samples_frames

    def paint(self, story: dict, position: int, number: int, seed: int, with_caption: bool = False) -> torch.Tensor:
        """Paint the frame at a position of a story `number` times, or once where none would differ: `(n, 3, H, W)`."""
        shown = slice(max(0, position - self.model.config.max_frames + 1), position)
        frames, captions = [story["frames"][shown]], [story["captions"][shown]]
        inputs = self.processor(frames=frames, captions=captions, return_tensors="pt").to(self.model.device)
        if with_caption:
            words = self.processor.tokenize_captions([[story["captions"][position]]]).to(self.model.device)
            inputs |= {f"next_{name}": words[name][:, 0] for name in ("input_ids", "attention_mask")}
        return self.model.predict_next_frame(**inputs, **self._sampling(number, seed)).float().cpu()

    def tell(self, story: dict, num_steps: int, seed: int) -> tuple[list[Image.Image], list[str]]:
        """Return the frames that follow the first `GIVEN`, and the captions that the model writes for them."""
        torch.manual_seed(seed)
        given = Story(story["frames"][:GIVEN], story["captions"][:GIVEN])
        options = {"do_sample": True, "temperature": 0.7, **(self.options if self.samples else {})}
        told = self.model.continue_story(self.processor, given, num_steps=num_steps, **options).continuation
        return told.frames, told.captions

    def describe(self, story: dict, frames: list[Image.Image], captions: list[str]) -> list[str]:
        """Return what the model says of each frame that follows the first `GIVEN`, which have these captions."""
        frames, captions = [*story["frames"][:GIVEN], *frames], [*story["captions"][:GIVEN], *captions]
        written = []
        for last in range(GIVEN, len(frames)):
            read = pages_to_read(last + 1, self.model.config.max_frames, self.model.config.num_memory_frames)
            shown = {"frames": [[frames[page] for page in read]], "captions": [[captions[page] for page in read]]}
            inputs = self.processor(**shown, return_tensors="pt")
            ids = self.model.generate(**inputs.to(self.model.device), task="describe")
            written += self.processor.batch_decode(ids, skip_special_tokens=True)
        return written

    def roll(self, story: dict, num_steps: int, seed: int) -> list[Image.Image]:
        """Return the frames that follow the first `GIVEN`, each painted without a caption."""
        frames, captions = list(story["frames"][:GIVEN]), list(story["captions"][:GIVEN])
        for step in range(num_steps):
            painted = self.paint({"frames": frames, "captions": captions}, len(frames), 1, seed + step)
            frames += self.processor.postprocess_frames(painted)
            captions.append(None)
        return frames[GIVEN:]

    def _sampling(self, number: int, seed: int) -> dict:
        if not self.samples:
            return {}
        generator = torch.Generator().manual_seed(seed)
        return {**self.options, "num_return_sequences": number, "generator": generator}


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table, and write the numbers and the page."""
    arguments = parse(argv)
    torch.set_num_threads(arguments.threads)
    models = load_models(arguments)
    size = tuple(models[0].model.config.image_size)
    stories = [
        generate_story(seed, "validation", image_size=size, num_frames=NUM_FRAMES)
        for seed in range(arguments.num_stories)
    ]
    pooled = pooled_features()
    with torch.no_grad():
        rows = [measure(model, stories, arguments, pooled) for model in models]
        times = time_steps(models[0], stories[0], arguments)
    for row, model in zip(rows, models):
        row["time_over_one_step"] = times.get(model.options["num_frame_steps"])
    regression = rows[-1]["best_l1_changed"]
    document = {"hardware": hardware(arguments.device, arguments.threads), "num_samples": arguments.num_samples}
    document |= {"num_stories": len(stories), "num_rollouts": arguments.num_rollouts, "rows": rows}
    for row in rows:
        row["best_over_regression"] = row["best_l1_changed"] / regression if regression else None
    write_json(document, arguments.output)
    drawn = next((model for model in models if model.options["num_frame_steps"] == DEFAULT_STEPS), models[0])
    with torch.no_grad():
        drawing = page(drawn, stories[: arguments.num_drawn], arguments)
    save_picture(drawing, Path(arguments.output).with_suffix(".png"))
    print(describe_hardware(document["hardware"]))
    print(results_table({title: cell(*column) for title, column in COLUMNS.items()}, rows))
    print(kinds_table(rows))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the flags."""
    parser = new_parser(__doc__)
    parser.add_argument("model", help="folder or Hub id of the model")
    parser.add_argument(
        "--regression", default="checkpoints/storyattn-tiny", help="the regressing model to compare with"
    )
    parser.add_argument("--num_stories", type=positive, default=50, help="stories of validation")
    parser.add_argument("--num_samples", type=positive, default=8, help="frames that are sampled of each")
    parser.add_argument("--num_rollouts", type=positive, default=10, help="stories that are carried on")
    parser.add_argument("--num_steps", type=positive, default=10, help="frames that are added to each of these")
    parser.add_argument(
        "--num_frame_steps", type=positive, nargs="+", default=[1, 2, 4, 8], help="steps of the sampling"
    )
    parser.add_argument("--frame_guidance_scale", type=float, help="of the sampling")
    parser.add_argument("--num_drawn", type=positive, default=8, help="stories on the page")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    add_common_flags(parser, "futures.json")
    return parser.parse_args(argv)


def load_models(arguments: argparse.Namespace) -> list[Model]:
    """Return the model at each number of steps, and the regressing one last."""
    model, processor = load_model(arguments.model, arguments.device)
    regression = model, processor
    models = []
    if model.config.samples_frames:
        models = [Model(model, processor, steps, arguments.frame_guidance_scale) for steps in arguments.num_frame_steps]
        regression = load_model(arguments.regression, arguments.device)
    if regression[0].config.samples_frames:
        raise ValueError(
            f"regression: got frame_decoder_type 'flow' in {arguments.regression!r}, expected 'regression'"
        )
    return [*models, Model(*regression)]


def pooled_features() -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return the function to the features in which the Frechet distance is measured, if its network is there."""
    network = load_instruments().feature_network
    return None if network is None else network.pooled


def measure(model: Model, stories: list[dict], arguments: argparse.Namespace, pooled: Callable | None) -> dict:
    """Return all measures of a model but the time."""
    futures, edges = Futures(pooled), Edges()
    for number, story in enumerate(stories):
        position = 1 + number % (NUM_FRAMES - 1)
        target, last = (as_tensor(story["frames"][place]) for place in (position, position - 1))
        states = [PictureState.from_json(text) for text in story["states"][: position + 1]]
        samples = model.paint(story, position, arguments.num_samples, arguments.seed)
        captioned = model.paint(story, position, 1, arguments.seed, with_caption=True)
        futures.update(samples, captioned, target, last, states)
        edges.update(story["events"][position]["kind"], captioned[0], target, last)
    row = {"model": model.name, **futures.compute(), "edge_ratio": edges.compute()}
    carried_on = stories[: arguments.num_rollouts]
    rolled = [model.roll(story, arguments.num_steps, arguments.seed) for story in carried_on]
    told = [model.tell(story, arguments.num_steps, arguments.seed) for story in carried_on]
    measured = {"rollout": list(map(rollout, rolled, carried_on))}
    measured["told"] = [rollout(frames, story) for (frames, _), story in zip(told, carried_on)]
    for name, rollouts in measured.items():
        row |= {f"{name}_{key}": float(np.mean([one[key] for one in rollouts])) for key in ("legal", "twice")}
        row[f"{name}_legal_by_step"] = np.mean([one["legal_by_step"] for one in rollouts], axis=0).tolist()
    agreement = Agreement()
    for story, (frames, captions), one in zip(carried_on, told, measured["told"]):
        described = model.describe(story, frames, captions)
        agreement.update(story["captions"][:GIVEN], captions, described, one["kinds"])
    return row | {f"told_{name}": value for name, value in agreement.compute().items()}


class Futures:
    """Collects the measures of samples of single transitions.

    Args:
        pooled: gives the features `(N, D)` of frames; `None` leaves the Frechet distance out.
    """

    def __init__(self, pooled: Callable[[torch.Tensor], torch.Tensor] | None = None):
        self.values, self.pooled, self.distributions = defaultdict(list), pooled, DistributionMetrics()

    def update(
        self,
        samples: torch.Tensor,
        captioned: torch.Tensor,
        target: torch.Tensor,
        last: torch.Tensor,
        states: list[PictureState],
    ) -> None:
        """
        Add a transition.

        Args:
            samples: frames painted without a caption, `(n, 3, H, W)` in [0, 1].
            captioned: one that was painted with its caption, `(1, 3, H, W)`.
            target, last: the true frame, and the one before it, `(3, H, W)`.
            states: what the true frames up to the target show.
        """
        *seen, before, true = states
        readings = state_reader(tuple(target.shape[-2:])).read(torch.cat([samples, captioned]))
        *shown, with_caption = [reading.state for reading in readings]
        kinds = {state: legal_kinds(before, state, seen) for state in set(shown) - {None}}
        legal = [state for state in shown if state is not None and kinds[state]]
        self.values["legal"].append(len(legal) / len(shown))
        self.values["legal_changes"].append(sum(state != before for state in legal) / len(shown))
        self.values["readable"].append(sum(state is not None for state in shown) / len(shown))
        self.values["distinct_legal"].append(len(set(legal)))
        self.values["distinct_kinds"].append(len(set().union(*(kinds[state] for state in legal))))
        self.values["exact_captioned"].append(with_caption == true)
        changed = changed_pixels(target, last)
        if changed.any():
            errors = (samples - target).abs().mean(1)[:, changed].mean(1)
            self.values["best_l1_changed"].append(errors.min().item())
            self.values["mean_l1_changed"].append(errors.mean().item())
        pairs = [(one - other).abs().mean().item() for one, other in combinations(samples, 2)]
        self.values["distance"].append(float(np.mean(pairs)) if pairs else 0.0)
        if self.pooled is not None:
            self.distributions.update(self.pooled(samples[:1]), self.pooled(target[None]))

    def compute(self) -> dict[str, float | None]:
        """Return the means over transitions, and the Frechet distance of the first samples to the true frames."""
        means = {name: float(np.mean(values)) for name, values in self.values.items()}
        return {**means, "frechet": self.distributions.compute()["fid"]}


class Edges:
    """Collects the Sobel magnitude of painted frames over that of true ones, on the pixels that changed."""

    def __init__(self):
        self.sums = defaultdict(lambda: np.zeros(2))

    def update(self, kind: str, painted: torch.Tensor, target: torch.Tensor, last: torch.Tensor) -> None:
        """Add a frame of an event of a kind; all frames are `(3, H, W)` in [0, 1]."""
        changed = changed_pixels(target, last)[1:-1, 1:-1]
        energy = [(torch.hypot(*sobel_gradients(frame)).mean(0) * changed).sum().item() for frame in (painted, target)]
        self.sums[kind] += energy
        self.sums["all"] += energy

    def compute(self) -> dict[str, float | None]:
        """Return the ratio of each kind, and of all; `None` where nothing changed."""
        return {kind: float(one / other) if other else None for kind, (one, other) in sorted(self.sums.items())}


def rollout(frames: list[Image.Image], story: dict) -> dict:
    """Return of the frames that follow the first `GIVEN` the shares of legal steps and of frames with somebody twice.

    `kinds` are those of the events that lead to each frame, none where the step is not legal. A step is legal where an
    event leads from what the frame before it shows to what it shows, with the characters of the given frames and of all
    legal steps.
    """
    given = [PictureState.from_json(text) for text in story["states"][:GIVEN]]
    readings = state_reader(frames[0].size[::-1]).read(torch.stack(list(map(as_tensor, frames))))
    before, seen, kinds = given[-1], given, []
    for reading in readings:
        after = reading.state
        kinds.append(frozenset() if None in (before, after) else legal_kinds(before, after, seen))
        seen = [*seen, after] if kinds[-1] else seen
        before = after
    legal = list(map(bool, kinds))
    twice = [reading.state is not None and is_twice(reading.state) for reading in readings]
    shares = {"legal": float(np.mean(legal)), "twice": float(np.mean(twice))}
    return {**shares, "legal_by_step": legal, "kinds": kinds}


def time_steps(model: Model, story: dict, arguments: argparse.Namespace) -> dict[int, float]:
    """Return the time of painting one frame at each number of steps, over that of one step."""
    if not model.samples:
        return {}

    def paint(steps: int) -> Callable[[], object]:
        timed = Model(model.model, model.processor, steps, arguments.frame_guidance_scale)
        return lambda: timed.paint(story, NUM_FRAMES - 1, 1, 0, with_caption=True)

    works = {steps: paint(steps) for steps in {1, *arguments.num_frame_steps}}
    seconds = {steps: min(taken) for steps, taken in seconds_of(works, arguments.repeats, arguments.device).items()}
    return {steps: value / seconds[1] for steps, value in seconds.items()}


def page(model: Model, stories: list[dict], arguments: argparse.Namespace) -> Image.Image:
    """Draw the last given frame, the true next one, and the futures of stories, a row each, with what they show."""
    rows = []
    for number, story in enumerate(stories):
        position = 1 + number % (NUM_FRAMES - 1)
        states = [PictureState.from_json(text) for text in story["states"][:position]]
        samples = model.paint(story, position, arguments.num_samples, arguments.seed)
        cells = [
            Cell([story["frames"][position - 1]], "last"),
            Cell([story["frames"][position]], "true", colour=TARGET),
        ]
        readings = state_reader(tuple(samples.shape[-2:])).read(samples)
        for picture, reading in zip(model.processor.postprocess_frames(samples), readings):
            state = reading.state
            kinds = legal_kinds(states[-1], state, states[:-1]) if state is not None else ()
            text = ", ".join(sorted(kinds)) or ("not legal" if state is not None else "unreadable")
            cells.append(Cell([picture], colour=PAINTED, text=text))
        rows.append((story["story_id"], cells))
    return draw_grid(rows, 2 * stories[0]["frames"][0].width, title=model.name)


def as_tensor(picture: Image.Image) -> torch.Tensor:
    """Return a picture as `(3, H, W)` in [0, 1]."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1) / 255)


def cell(name: str, form: str) -> Callable[[dict], str]:
    """Return how a row fills a column."""
    return lambda row: "-" if row.get(name) is None else form.format(row[name])


def kinds_table(rows: list[dict]) -> str:
    """Return the table of the edge ratios by kind of event, a row each."""
    kinds = sorted({kind for row in rows for kind in row["edge_ratio"]})
    by_kind = [{"kind": kind, **{row["model"]: row["edge_ratio"].get(kind) for row in rows}} for kind in kinds]
    columns = {"Edges of changed pixels": cell("kind", "{}")}
    return results_table({**columns, **{row["model"]: cell(row["model"], "{:.2f}") for row in rows}}, by_kind)


if __name__ == "__main__":
    main()
