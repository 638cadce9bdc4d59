"""The baselines: what each learns and reads, that it comes back from a folder, and that the common commands hold."""

import json
import math

import pytest
import torch
from conftest import draw_story, refused_line, small_config
from PIL import Image as PILImage
from safetensors.torch import load_file
from storyattn.training import train as train_module
from storyattn.training.arguments import Baseline, ModelArguments
from storyattn.training.cli import evaluate as evaluate_cli
from storyattn.training.cli import tell
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.engine.checkpoints import list_checkpoints
from storyattn.training.evaluation.evaluate import evaluate_model
from storyattn.training.models.baselines import BASELINES, build_baseline, story_config
from storyattn.training.models.load import load_model
from torch.testing import assert_close
from transformers import BertConfig, BertModel, ConvNextConfig, ConvNextModel

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {"train_batch_size": 4, "eval_batch_size": 4, "warmup_steps": 2, "max_eval_windows": 4, "max_test_windows": 4}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory, small_processor) -> dict[str, str]:
    """Folders of a tiny vision model and a tiny text encoder with its tokenizer, as a Hub id would give."""
    torch.manual_seed(0)
    vision, text = (tmp_path_factory.mktemp(name) for name in ("vision", "text"))
    widths = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "initializer_range": 0.5}
    ConvNextModel(ConvNextConfig(image_size=32, **widths)).save_pretrained(vision)
    (vision / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3]}))
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "initializer_range": 0.5,
    }
    tokenizer = small_processor.tokenizer
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(text)
    tokenizer.save_pretrained(text)
    return {"vision": str(vision), "text": str(text)}


@pytest.fixture
def built(small_processor, encoders):
    """Builds a baseline of the small model with fresh weights, in evaluation mode."""

    def build(name: str, **changes):
        config = small_config(**changes)
        config.adapt_to_tokenizer(small_processor.tokenizer)
        given = encoders if name == "projection" else {}
        config = story_config(name, config, given.get("vision"))
        torch.manual_seed(0)
        return build_baseline(name, config, **given).eval()

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
        assert set(output.loss_parts) == {part for part, weight in model.config.loss_weights.items() if weight}
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
    context = model.paint(
        model.context_decoder, model.read(*(batch[name] for name in READ))[0][rows, last - 1][:, None]
    )
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
    told = batch["attention_mask"][:, 0].any(-1) & batch["attention_mask"][:, 1].any(-1)
    assert told.any()
    for row in told.nonzero().flatten():
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
    assert any(None in told for told in texts)
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
    told = json.loads((tmp_path / "config.json").read_text())
    assert told["model_type"] == f"storyattn_{name}" and "auto_map" not in told
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


class EarlierFramesHidden:
    """Stories whose first frames, all but the last two, are black."""

    def __init__(self, stories):
        self.stories = stories

    def __len__(self):
        return len(self.stories)

    def __getitem__(self, key):
        row = self.stories[key]
        if isinstance(key, str):
            return row
        frames = row["frames"]
        black = [PILImage.new("RGB", frames[0].size)] * (len(frames) - 2)
        return {**row, "frames": [*black, *frames[-2:]]}


def measured(model, processor, stories, **options) -> dict:
    return evaluate_model(model, processor, stories, progress=False, max_windows=4, **options)


def test_no_context_is_measured_on_the_models_windows_and_shown_one_frame(
    built, small_model, small_processor, prepared
):
    model = built("no_context", max_frames=4)  # the whole of a drawn story
    small_model.config.max_frames = 4
    assert model.config.max_frames == 2
    own, full = (measured(one, small_processor, prepared) for one in (model, small_model))
    assert own["num_windows"] == full["num_windows"] == 4
    for name in ("copy_last", "mean", "oracle_input"):
        assert_close(own["next_frame"]["floors"][name]["l1"], full["next_frame"]["floors"][name]["l1"])
    assert any("up to 3 frames before the measured one the model is shown the last 1" in note for note in own["notes"])
    hidden = measured(model, small_processor, EarlierFramesHidden(prepared))
    assert hidden["next_frame"]["l1"] == own["next_frame"]["l1"]
    assert hidden["next_caption"]["loss"] == own["next_caption"]["loss"]
    assert hidden["next_frame"]["floors"]["mean"]["l1"] != own["next_frame"]["floors"]["mean"]["l1"]


def test_fewer_frames_can_be_shown_than_a_model_reads(small_model, small_processor, prepared):
    small_model.config.max_frames = 4
    blackened = EarlierFramesHidden(prepared)
    all_shown, none_shown = (measured(small_model, small_processor, stories) for stories in (prepared, blackened))
    assert all_shown["next_caption"]["loss"] != none_shown["next_caption"]["loss"]
    one, other = (measured(small_model, small_processor, told, context_frames=1) for told in (prepared, blackened))
    assert (
        one["next_caption"]["loss"] == other["next_caption"]["loss"]
        and one["next_frame"]["l1"] == other["next_frame"]["l1"]
    )


# The commands


@pytest.fixture(scope="module")
def launch(stories_folder, small_config_file, encoders):
    """Trains a baseline by the command with flags by name."""

    def run(name, output_dir, **flags) -> None:
        flags = {"config": small_config_file, "dataset": stories_folder, "output_dir": output_dir, **QUICK, **flags}
        if name == "projection":
            flags |= {f"baseline_{part}": source for part, source in encoders.items()}
        train_module.main([f"--baseline={name}", *(f"--{flag}={value}" for flag, value in flags.items())])

    return run


@pytest.fixture(scope="module", params=BASELINES)
def finished(request, launch, tmp_path_factory):
    """A baseline and the folder of its run of four steps; nothing may be written there."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    launch(request.param, folder, max_train_steps=4, eval_steps=2, save_steps=2, logging_steps=1)
    return request.param, folder


# What each baseline can be measured on.
GIVEN = {
    "notebook": {"next_frame", "next_caption"},
    "no_context": {"next_frame", "reconstruction", "next_caption", "describe", "retrieval", "attention"},
    "text_only": {"next_caption"},
    "projection": {"retrieval"},
}


def check_measures(name: str, metrics: dict) -> None:
    """What the baseline has is a number, all else `None`, and the notes say what is missing."""
    numbers = {measure: metrics[measure]["l1"] for measure in ("next_frame", "reconstruction")}
    numbers |= {measure: metrics[measure]["loss"] for measure in ("next_caption", "describe")}
    numbers["retrieval"] = metrics["retrieval"]["text_to_image"]["r1"]
    for measure, number in numbers.items():
        assert (number is not None and math.isfinite(number)) == (measure in GIVEN[name]), measure
        missing = [note for note in metrics["notes"] if "does not give" in note]
        assert any(measure in note for note in missing) == (measure not in GIVEN[name]), measure
    assert metrics["next_frame"]["floors"]["copy_last"]["l1"] > 0
    assert (metrics["next_caption"]["bleu4"] is not None) == ("next_caption" in GIVEN[name])


def test_a_run_leaves_a_folder_with_the_models_measures(finished):
    name, folder = finished
    assert {"config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl"} <= {p.name for p in folder.iterdir()}
    assert not (folder / "README.md").exists()
    assert len(list_checkpoints(folder)) == 2 and (folder / "figures" / "evaluation.png").is_file()
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in log if "eval" in line] == [2, 4]
    results = json.loads((folder / "results.json").read_text())
    assert results["num_windows"] == 4
    check_measures(name, results["metrics"])


def test_the_common_command_measures_it_on_storyworld(finished, tmp_path, capsys):
    name, folder = finished
    output = tmp_path / "results.json"
    flags = ("--split=test", "--train_split=", "--max_windows=4", "--batch_size=4", f"--output={output}")
    evaluate_cli.main([f"--model={folder}", "--dataset=storyworld", *flags])
    results = json.loads(output.read_text())
    check_measures(name, results["metrics"])
    assert ("by_event" in results["metrics"]["next_frame"]) == ("next_frame" in GIVEN[name])
    assert "copy_last" in capsys.readouterr().out


def test_a_resumed_baseline_ends_with_the_same_weights(launch, tmp_path):
    flags = {"max_train_steps": 4, "eval_steps": 0, "save_steps": 2}
    launch("notebook", tmp_path / "run", **flags)
    ended = load_file(list_checkpoints(tmp_path / "run")[-1] / "model.safetensors")
    checkpoint = tmp_path / "run" / "checkpoints" / "step-2"
    launch("notebook", tmp_path / "resumed", resume_from_checkpoint=checkpoint, **flags)
    resumed = load_file(list_checkpoints(tmp_path / "resumed")[-1] / "model.safetensors")
    assert resumed.keys() == ended.keys() and all(torch.equal(resumed[name], ended[name]) for name in ended)
    line = refused_line(
        lambda argv: launch("text_only", tmp_path / "other", resume_from_checkpoint=checkpoint, **flags), []
    )
    assert "baseline: found 'notebook', expected 'text_only'" in line


def test_a_baseline_does_not_tell_stories(built, small_processor, stories_folder, tmp_path):
    built("notebook").save_pretrained(tmp_path)
    small_processor.save_pretrained(tmp_path)
    line = refused_line(tell.main, [f"--model={tmp_path}", f"--dataset={stories_folder}", "--split=test", "--given=2"])
    assert "found the baseline storyattn_notebook" in line


# What is refused


def test_the_flag_names_every_baseline():
    assert set(Baseline.__args__) == set(BASELINES)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"baseline": "projection", "baseline_vision": "a/b"}, "baseline_text: found None, expected a folder"),
        ({"baseline_text": "a/b"}, "baseline_text: found a/b, expected none without --baseline projection"),
        (
            {"baseline": "projection", "baseline_vision": "a/b", "baseline_text": "a/b", "tokenizer_name": "c/d"},
            "tokenizer_name: found c/d, expected that of --baseline_text",
        ),
    ],
)
def test_encoders_go_with_projection_alone(flags, expected):
    with pytest.raises(ValueError, match=expected):
        ModelArguments(**flags)


def test_mistakes_are_told_in_one_line_each(small_processor, encoders, tmp_path):
    config = small_config(image_size=[20, 40], frame_stride=4, frame_channels=[8])
    with pytest.raises(ValueError, match=r"image_size: found \[20, 40\], expected multiples of 8 for the notebook"):
        story_config("notebook", config)
    config = small_config()
    config.adapt_to_tokenizer(small_processor.tokenizer)
    with pytest.raises(ValueError, match="baseline_vision: found .*, expected a folder or Hub id of a vision encoder"):
        build_baseline("projection", config, encoders["text"], encoders["text"])
    with pytest.raises(ValueError, match="baseline_text: found .*, expected a folder or Hub id of a text encoder"):
        build_baseline("projection", config, encoders["vision"], str(tmp_path))
