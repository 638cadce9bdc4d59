"""The baselines: what each learns and reads, that it comes back from a folder, and what is refused."""

import json
from contextlib import contextmanager

import pytest
import torch
from baseline_encoders import save_encoders
from conftest import draw_story, refused_line, small_config
from PIL import Image as PILImage
from storyattn.configuration_defaults import FLOW_LOSS_WEIGHTS
from storyattn.training.arguments import Baseline, ModelArguments
from storyattn.training.cli import tell
from storyattn.training.data import windows
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.evaluation.evaluate import evaluate_model
from storyattn.training.models.baselines import BASELINES, build_baseline, story_config
from storyattn.training.models.load import load_model
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory, small_processor) -> dict[str, str]:
    return save_encoders(tmp_path_factory.mktemp("encoders"), small_processor.tokenizer)


@pytest.fixture
def built(small_processor, encoders):
    """Build a baseline of the small model with fresh weights, in evaluation mode."""

    def build(name: str, **changes):
        config = small_config(**changes)
        config.adapt_to_tokenizer(small_processor.tokenizer)
        sources = encoders if name == "projection" else {}
        config = story_config(name, config, sources.get("vision"))
        torch.manual_seed(0)
        return build_baseline(name, config, **sources).eval()

    return build


def batch_of(processor, seeds, num_frames=3) -> dict[str, torch.Tensor]:
    """Stories as tensors, the last one a frame shorter."""
    stories = [draw_story(seed, num_frames) for seed in seeds]
    stories[-1] = {name: values[:-1] for name, values in stories[-1].items()}
    names = ("frames", "captions")
    return dict(processor(**{name: [story[name] for story in stories] for name in names}))


@pytest.fixture
def batch(small_processor) -> dict[str, torch.Tensor]:
    return batch_of(small_processor, range(4))


def changed(batch: dict, name: str, frame: int) -> dict[str, torch.Tensor]:
    """The batch with other pictures, or other words, at a frame of every story."""
    values = batch[name].clone()
    if name == "pixel_values":
        values[:, frame] = -values[:, frame]
    else:
        words = values[:, frame, 1:]  # the start token stays
        values[:, frame, 1:] = torch.where(words > 2, 3 + (words + 7) % 200, words)
    return {**batch, name: values}


# What each learns and reads


@pytest.mark.parametrize("name", BASELINES)
def test_the_loss_falls_on_a_few_stories(built, batch, name):
    model = built(name).train()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=5e-3)
    losses = []
    for _ in range(30):
        output = model(**batch, return_loss=True)
        parts = {part for part, weight in model.config.loss_weights.items() if weight}
        assert set(output.loss_parts) == parts - FLOW_LOSS_WEIGHTS.keys()
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", ["notebook", "text_only"])
def test_losses_of_batches_with_common_counts_average_to_that_of_all(built, small_processor, name):
    model = built(name)
    stories = range(5)
    whole = batch_of(small_processor, stories)
    parts = [{key: values[rows] for key, values in whole.items()} for rows in (slice(0, 2), slice(2, 5))]
    counts = [model.loss_counts(**part) for part in parts]
    mean = {kind: (counts[0][kind] + counts[1][kind]) / 2 for kind in counts[0]}
    losses = [model(**part, return_loss=True, loss_counts=mean).loss for part in parts]
    assert_close(sum(losses) / 2, model(**whole, return_loss=True).loss)


def test_the_notebooks_target_is_the_frame_and_the_caption_after_the_given_ones(built, batch):
    model = built("notebook").train()
    output = model(**batch, return_loss=True)
    rows, last = torch.arange(4), torch.tensor([2, 2, 2, 1])
    frames = model.unnormalize(batch["pixel_values"])
    assert output.predicted_frames.shape == (4, 1, 3, 32, 48)
    error = (output.predicted_frames[:, 0] - frames[rows, last]).abs().mean()
    assert_close(output.loss_parts["next_frame_l1"], error)
    logits, ids, mask = (
        output.next_caption_logits[:, 0],
        *(batch[name][rows, last] for name in ("input_ids", "attention_mask")),
    )
    words = ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), words, ignore_index=-100)
    assert_close(output.loss_parts["next_caption"], expected)
    mean = [frames[row, :number].mean(0) for row, number in enumerate(last)]
    latents, _ = model.read(**batch)
    context = model.paint(model.context_decoder, latents[rows, last - 1][:, None])
    assert_close(output.loss_parts["context"], (context[:, 0] - torch.stack(mean)).square().mean())
    weighted = output.loss_parts["next_frame_l1"] + output.loss_parts["next_caption"]
    assert_close(output.loss, weighted + 0.2 * output.loss_parts["context"])
    assert_close(model.eval()(**batch, return_loss=True).loss, output.loss)  # of all transitions the last


READ = ("pixel_values", "frame_mask", "input_ids", "attention_mask")


def test_the_notebook_reads_the_given_frames_and_captions_and_nothing_later(built, batch):
    model = built("notebook")
    with torch.no_grad():
        before = model(**batch)
        for name in ("pixel_values", "input_ids"):
            later, earlier = model(**changed(batch, name, 2)), model(**changed(batch, name, 0))
            assert_close(later.predicted_frames, before.predicted_frames)
            assert not torch.allclose(earlier.predicted_frames, before.predicted_frames)
        assert_close(later.next_caption_logits[:, 0], before.next_caption_logits[:, 0])
    assert before.predicted_frames.shape == (4, 2, 3, 32, 48)
    given = {name: batch[name][:, :2] for name in READ}
    given["frame_mask"] = given["frame_mask"].clone()
    given["frame_mask"][3, 1] = 0
    rows, last = torch.arange(4), torch.tensor([1, 1, 1, 0])
    assert_close(model.predict_next_frame(**given), before.predicted_frames[rows, last])


def test_text_only_reads_the_captions_before_and_no_picture(built, batch):
    model = built("text_only")
    with torch.no_grad():
        before = model(**batch).next_caption_logits
        assert_close(model(**changed(batch, "pixel_values", 0)).next_caption_logits, before)
        later, earlier = (model(**changed(batch, "input_ids", frame)).next_caption_logits for frame in (2, 0))
    assert before.shape[1] == 2 and before.shape[-1] == model.config.vocab_size
    assert_close(later[:, 0], before[:, 0])
    captioned = batch["attention_mask"][:, 0].any(-1) & batch["attention_mask"][:, 1].any(-1)
    assert captioned.any()
    for row in captioned.nonzero().flatten():
        assert not torch.allclose(earlier[row, 0], before[row, 0])


@pytest.mark.parametrize("name", ["notebook", "text_only"])
def test_what_is_written_is_what_the_logits_say(built, small_processor, name):
    model = built(name)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:  # fresh weights would write the same whatever was read
                weight.normal_(std=weight.shape[-1] ** -0.5 * 2)
    stories = [draw_story(seed, 3) for seed in range(12)]
    stories = [story for story in stories if story["captions"][2]]
    texts = [story["captions"] for story in stories]
    assert any(None in captions for captions in texts)
    inputs = dict(small_processor(frames=[story["frames"] for story in stories], captions=texts))
    given = {key: values[:, :2] for key, values in inputs.items()}
    written = model.generate(**given, max_new_tokens=1, do_sample=False)[:, 0]
    with torch.no_grad():
        logits = model(**inputs).next_caption_logits[:, 1, 0]
    assert len(written.unique()) > 2
    assert_close(written, logits.argmax(-1))


def test_projections_are_trained_and_the_encoders_are_not(built, batch):
    model = built("projection").train()
    assert_close(model.config.image_mean, [0.1, 0.2, 0.3])
    assert not model.vision_encoder.training and not model.text_encoder.training and model.image_projection.training
    model(**batch, return_loss=True).loss.backward()
    trained = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert trained == {"image_projection", "text_projection", "logit_scale"}
    embeds = model(**batch).image_embeds
    assert embeds.shape == (4, 3, 16)
    assert_close(embeds.norm(dim=-1), torch.ones(4, 3))


@pytest.mark.parametrize("name", BASELINES)
def test_a_saved_baseline_gives_the_same_again(built, small_processor, batch, tmp_path, name):
    model = built(name)
    model.save_pretrained(tmp_path)
    small_processor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == f"storyattn_{name}" and "auto_map" not in config
    assert not (tmp_path / "modeling_storyattn.py").exists()
    loaded, _ = load_model(str(tmp_path), "cpu")
    assert type(loaded) is BASELINES[name] and not loaded.training
    with torch.no_grad():
        first, second = model(**batch, return_loss=True), loaded(**batch, return_loss=True)
    assert_close(second.loss, first.loss)
    assert_close(loaded.config.loss_weights, model.config.loss_weights)


# The windows that a model without context is measured on


@pytest.fixture(scope="module")
def prepared(stories_folder, small_processor):
    return prepare_stories(read_stories(str(stories_folder), "test"), small_processor.image_processor, "test")


@contextmanager
def earlier_frames_hidden():
    """Every window is measured with black frames before its last two."""
    window_of = windows._window

    def hidden(row: dict, window: slice) -> dict:
        item = window_of(row, window)
        frames = item["frames"]
        black = [PILImage.new("RGB", frames[0].size)] * (len(frames) - 2)
        return {**item, "frames": [*black, *frames[-2:]]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_window", hidden)
        yield


def measured(model, processor, stories, **options) -> dict:
    return evaluate_model(model, processor, stories, progress=False, max_windows=4, **options)


def test_no_context_is_measured_on_the_models_windows_and_shown_one_frame(
    built, small_model, small_processor, prepared
):
    model = built("no_context", max_frames=4)  # the whole of a drawn story
    small_model.config.max_frames = 4
    assert model.config.max_frames == 2
    alone, full = (measured(one, small_processor, prepared) for one in (model, small_model))
    assert alone["num_windows"] == full["num_windows"] == 4
    for name in ("copy_last", "mean", "oracle_input"):
        assert_close(alone["next_frame"]["floors"][name]["l1"], full["next_frame"]["floors"][name]["l1"])
    note = "up to 3 frames before the measured one the model is shown the last 1"
    assert any(note in line for line in alone["notes"])
    with earlier_frames_hidden():
        hidden = measured(model, small_processor, prepared)
    assert hidden["next_frame"]["l1"] == alone["next_frame"]["l1"]
    assert hidden["next_caption"]["loss"] == alone["next_caption"]["loss"]
    assert hidden["next_frame"]["floors"]["mean"]["l1"] != alone["next_frame"]["floors"]["mean"]["l1"]


def test_fewer_frames_can_be_shown_than_a_model_reads(small_model, small_processor, prepared):
    small_model.config.max_frames = 4

    def both(**options) -> tuple[dict, dict]:
        shown = measured(small_model, small_processor, prepared, **options)
        with earlier_frames_hidden():
            return shown, measured(small_model, small_processor, prepared, **options)

    all_shown, none_shown = both()
    assert all_shown["next_caption"]["loss"] != none_shown["next_caption"]["loss"]
    one, other = both(context_frames=1)
    assert one["next_caption"]["loss"] == other["next_caption"]["loss"]
    assert one["next_frame"]["l1"] == other["next_frame"]["l1"]


def test_a_baseline_does_not_tell_stories(built, small_processor, stories_folder, tmp_path):
    built("notebook").save_pretrained(tmp_path)
    small_processor.save_pretrained(tmp_path)
    line = refused_line(tell.main, [f"--model={tmp_path}", f"--dataset={stories_folder}", "--split=test", "--given=2"])
    assert "got the baseline storyattn_notebook" in line


# What is refused


def test_the_flag_names_every_baseline():
    assert set(Baseline.__args__) == set(BASELINES)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"baseline": "projection", "baseline_vision": "a/b"}, "baseline_text: got None, expected a folder"),
        ({"baseline_text": "a/b"}, "baseline_text: got a/b, expected none without --baseline projection"),
        (
            {"baseline": "projection", "baseline_vision": "a/b", "baseline_text": "a/b", "tokenizer_name": "c/d"},
            "tokenizer_name: got c/d, expected that of --baseline_text",
        ),
    ],
)
def test_encoders_go_with_projection_alone(flags, expected):
    with pytest.raises(ValueError, match=expected):
        ModelArguments(**flags)


def test_what_a_baseline_cannot_be_built_of_is_named(small_processor, encoders, tmp_path):
    config = small_config(image_size=[20, 40], frame_stride=4, frame_channels=[8])
    with pytest.raises(ValueError, match=r"image_size: got \[20, 40\], expected multiples of 8 for the notebook"):
        story_config("notebook", config)
    config = small_config()
    config.adapt_to_tokenizer(small_processor.tokenizer)
    with pytest.raises(ValueError, match="baseline_vision: got .*, expected a folder or Hub id of a vision encoder"):
        build_baseline("projection", config, encoders["text"], encoders["text"])
    with pytest.raises(ValueError, match="baseline_text: got .*, expected a folder or Hub id of a text encoder"):
        build_baseline("projection", config, encoders["vision"], str(tmp_path))
