"""Exact match on SCONE of models whose behaviour is known: one that follows, one that copies, some that err."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import refused_line, small_config
from datasets import Dataset
from PIL import Image
from scone_files import sequence
from storyattn import StoryAttnForConditionalGeneration
from storyattn.training import train
from storyattn.training.evaluation.evaluate import evaluate_model
from storyattn.training.evaluation.scone_metrics import exact_match
from storyattn.training.evaluation.tables import main_results, result_tables
from storyattn.training.evaluation.terminal import format_metrics
from storyattn.training.scone import DOMAINS, parse_state, state_reader
from storyattn.training.scone.dataset_folder import FEATURES, story_row
from storyattn.training.scone.pictures import state_pixels
from storyattn.training.scone.sequences import Sequence
from storyattn.training.scone.states import State
from transformers import BatchFeature

SIZE = (64, 96)
STEPS = [f"after_{step}" for step in range(1, 6)]


class PictureProcessor:
    """Frames as they are; the caption "make it STATE" is the number of that text."""

    def __init__(self):
        self.texts = [""]

    def __call__(self, frames, captions=None, return_tensors="pt"):
        count = max(map(len, frames))
        pixels = torch.zeros(len(frames), count, 3, *SIZE)
        frame_mask = torch.zeros(len(frames), count, dtype=torch.long)
        for row, pictures in enumerate(frames):
            for column, picture in enumerate(pictures):
                pixels[row, column] = torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)
                frame_mask[row, column] = 1
        return BatchFeature({"pixel_values": pixels, "frame_mask": frame_mask})

    def tokenize_captions(self, captions):
        ids = torch.zeros(len(captions), 1, 1, dtype=torch.long)
        for row, (text,) in enumerate(captions):
            self.texts.append(text)
            ids[row] = len(self.texts) - 1
        return BatchFeature({"input_ids": ids, "attention_mask": torch.ones_like(ids)})

    def postprocess_frames(self, frames):
        return [Image.fromarray(frame) for frame in (frames * 255).round().byte().permute(0, 2, 3, 1).numpy()]


class Follower(torch.nn.Module):
    """Paints `change(read state, asked state)`, the state read from the last frame that it is shown."""

    device = torch.device("cpu")

    def __init__(self, domain: str, processor: PictureProcessor, change):
        super().__init__()
        self.config = SimpleNamespace(max_frames=6)
        self.domain, self.processor, self.change = domain, processor, change

    def unnormalize(self, pixel_values):
        return pixel_values

    def predict_next_frame(self, pixel_values, frame_mask, next_input_ids, next_attention_mask):
        last = pixel_values[torch.arange(len(frame_mask)), frame_mask.sum(1) - 1]
        painted = []
        for reading, number in zip(state_reader(self.domain, SIZE).read(last), next_input_ids[:, 0].tolist()):
            text = self.processor.texts[number].removeprefix("make it ").removeprefix("nothing")
            painted.append(self.change(reading.state, parse_state(self.domain, text)))
        frames = np.stack([state_pixels(state, SIZE) for state in painted])
        return torch.from_numpy(frames).permute(0, 3, 1, 2) / 255


def stories_of(domain: str, number: int = 5) -> Dataset:
    rows = []
    for index in range(number):
        written = sequence(domain, f"test-{index}")
        texts = [written["initial_env"], *(step["after_env"] for step in written["utterances"])]
        instructions = tuple(step["instruction"] for step in written["utterances"])
        rows.append(story_row(Sequence(f"{index}", tuple(parse_state(domain, t) for t in texts), instructions), SIZE))
    return Dataset.from_list(rows, features=FEATURES)


def measure(domain: str, change, number: int = 5, batch_size: int = 2) -> dict:
    processor = PictureProcessor()
    model, stories = Follower(domain, processor, change), stories_of(domain, number)
    options = {"batch_size": batch_size, "progress": False}
    return exact_match(model, processor, stories, range(number), **options)[domain]


def same(value: float, mean: bool = True) -> dict:
    return {**({"mean": value} if mean else {}), **dict.fromkeys(STEPS, value)}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_model_that_follows_is_right_everywhere_and_another_story_misleads_it(domain):
    measured = measure(domain, lambda state, asked: asked)
    for name in ("closed_loop", "closed_loop_snapped"):
        assert measured[name] == same(1.0, mean=False)
    for name in ("single_step", "single_step_snapped", "single_step_slots"):
        assert measured[name] == same(1.0)
    assert measured["count"] == 5 and measured["true_frames"] == 1.0
    floors = measured["floors"]
    assert floors["single_step"] == {"copy_last": same(0.0), "shuffled_instruction": same(0.0)}
    assert floors["closed_loop"] == {"copy_first": same(0.0, mean=False)}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_model_that_copies_is_never_right(domain):
    measured = measure(domain, lambda state, asked: state)
    assert measured["closed_loop"] == measured["closed_loop_snapped"] == same(0.0, mean=False)
    assert measured["single_step"] == same(0.0) and measured["true_frames"] == 1.0
    assert 0 < measured["single_step_slots"]["mean"] < 1 or domain == "tangrams"


def test_an_error_stays_in_the_closed_loop_but_not_from_true_frames():
    """Of the second state on it follows only where the frame that it reads is the true one before."""
    written = sequence("tangrams", "test-0")
    states = [written["initial_env"], *(step["after_env"] for step in written["utterances"])]
    before = dict(zip(states[1:], states))

    def change(state: State, asked: State) -> State:
        first_error = str(asked) == states[2] and str(state) == states[1]
        return state if first_error or str(state) != before[str(asked)] else asked

    measured = measure("tangrams", change, number=1)
    right = [1.0, 0.0, 0.0, 0.0, 0.0]
    assert list(measured["closed_loop"].values()) == right
    assert measured["single_step"] == {"mean": 0.8, **dict(zip(STEPS, [1.0, 0.0, 1.0, 1.0, 1.0]))}
    assert measured["floors"]["single_step"].keys() == {"copy_last"}  # one story has nobody to exchange words with


def test_snapping_repairs_what_no_legal_state_looks_like():
    """A unit of liquid that floats above a gap: read as it is, and taken away where paintings are snapped."""

    measured = measure("alchemy", lambda state, asked: State("alchemy", ("___y", *asked.slots[1:])))
    empty = [[state.startswith("1:_ ") for state in row[1:]] for row in stories_of("alchemy")["states"]]
    share = {name: sum(row[step] for row in empty) / 5 for step, name in enumerate(STEPS)}
    assert measured["closed_loop"] == same(0.0, mean=False) and measured["single_step"] == same(0.0)
    assert measured["closed_loop_snapped"] == share and sum(share.values()) > 0
    assert {name: measured["single_step_snapped"][name] for name in STEPS} == share


def test_states_that_are_none_are_named_with_the_story():
    rows = stories_of("tangrams").to_list()
    rows[3]["states"][2] = "1:A 2:A"
    stories = Dataset.from_list(rows, features=FEATURES)
    processor = PictureProcessor()
    model = Follower("tangrams", processor, lambda state, asked: asked)
    with pytest.raises(ValueError, match="story 'tangrams-3', states: slot 2: got 'A' again"):
        exact_match(model, processor, stories, range(5), progress=False)


def test_an_evaluation_follows_the_stories_of_every_domain_beside_all_else(small_processor):
    rows = [row for domain in ("scene", "tangrams") for row in stories_of(domain, 2).to_list()]
    stories = Dataset.from_list(rows, features=FEATURES)
    config = small_config(max_frames=6)
    config.adapt_to_tokenizer(small_processor.tokenizer)
    torch.manual_seed(0)
    model = StoryAttnForConditionalGeneration(config)
    metrics = evaluate_model(model, small_processor, stories, batch_size=4, progress=False)
    assert {domain: row["count"] for domain, row in metrics["exact_match"].items()} == {
        "scene": 2,
        "tangrams": 2,
    }
    assert all(measured["true_frames"] == 1.0 for measured in metrics["exact_match"].values())
    assert "exact match, scene" in format_metrics(metrics) and "| exact match, tangrams |" in result_tables(metrics)
    for name in ("closed loop, snapped", "single step, copy last"):
        assert name in format_metrics(metrics)
    rows = {row["name"]: row for row in main_results(metrics)}
    assert rows["scene: all right after five instructions"]["floor_name"] == "copy first"


def test_a_model_of_fewer_frames_is_refused_and_no_story_cut(small_model, small_processor):
    with pytest.raises(ValueError, match="max_frames: got 3, expected at least 6: .* --config_overrides max_frames=6"):
        evaluate_model(small_model, small_processor, stories_of("scene"), progress=False)


def test_training_is_refused_before_it_begins(tmp_path, small_config_file):
    (tmp_path / "stories").mkdir()
    for split in ("train", "validation", "test"):
        stories_of("scene", 3).to_parquet(tmp_path / "stories" / f"{split}.parquet")
    flags = ["--config", small_config_file, "--dataset", tmp_path / "stories", "--output_dir", tmp_path / "run"]
    line = refused_line(train.main, [str(flag) for flag in flags])
    assert line.startswith("error: max_frames: got 3, expected at least 6")
