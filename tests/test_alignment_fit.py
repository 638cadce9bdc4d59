"""The shared space in closed form: what is fitted, that the model then has it, and what is refused."""

import json

import pytest
import torch
from conftest import draw_story, refused_line, small_config
from storyattn import StoryAttnForConditionalGeneration
from storyattn.training import train as train_module
from storyattn.training.engine.alignment_fit import best_alignment, centred, fit_alignment
from storyattn.training.evaluation.retrieval import retrieval_metrics
from torch.testing import assert_close
from training_runs import train_with

ONE_STEP = {"max_train_steps": 1, "train_batch_size": 2, "max_test_windows": 2, "max_eval_windows": 2}

pytestmark = pytest.mark.usefixtures("one_thread")


def sides(shared: float) -> tuple[dict, dict, dict]:
    """Return features of pictures and texts with a common part of that size, and the story of each."""
    torch.manual_seed(0)
    pictures, texts, stories = {}, {}, {}
    mixing = torch.randn(2, 6, 20, dtype=torch.double)
    for split, number in (("train", 600), ("validation", 60), ("test", 60)):
        common = torch.randn(number, 6, dtype=torch.double)
        pictures[split], texts[split] = shared * common @ mixing + torch.randn(2, number, 20, dtype=torch.double)
        stories[split] = torch.arange(number) // 6
    return pictures, texts, stories


def stories_of(seeds: range) -> list[dict]:
    return [draw_story(seed, num_frames=4) for seed in seeds]


@pytest.fixture
def aligned_model(small_processor) -> StoryAttnForConditionalGeneration:
    torch.manual_seed(0)
    return StoryAttnForConditionalGeneration(small_config(align_encoder_features=True)).eval()


def test_what_two_sides_share_is_fitted():
    shared = best_alignment(*sides(shared=5.0))["measured"]
    assert shared["test"]["r1"] > 0.8 and shared["test"]["within_story_r1"] > 0.9
    nothing = best_alignment(*sides(shared=0.0))["measured"]
    assert nothing["test"]["r10"] < 0.35 and nothing["test"]["chance_r10"] == pytest.approx(1 / 6)


def test_the_maps_give_what_was_measured():
    pictures, texts, stories = sides(shared=1.0)
    fit = best_alignment(pictures, texts, stories)
    embeds = [
        torch.nn.functional.normalize((side["test"] - mean) @ matrix, dim=-1)
        for side, (matrix, mean) in zip((pictures, texts), fit["maps"])
    ]
    assert retrieval_metrics(*embeds, stories["test"])["text_to_image"] == fit["measured"]["test"]


def test_a_share_of_the_mean_of_a_story_is_taken_off():
    features = torch.tensor([[1.0], [3.0], [10.0]])
    stories = torch.tensor([0, 0, 2])
    assert centred(features, stories, 0.5).flatten().tolist() == [0.0, 2.0, 5.0]
    assert_close(centred(features, stories, 0.0), features)


def test_the_model_has_in_the_shared_space_what_was_fitted(aligned_model, small_processor):
    train, validation = stories_of(range(12)), stories_of(range(100, 106))
    before = {name: weight.clone() for name, weight in aligned_model.state_dict().items()}
    chosen = fit_alignment(aligned_model.train(), small_processor, train, validation, progress=False)
    assert aligned_model.training
    changed = {name for name, weight in aligned_model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {f"model.{side}_projection.{kind}" for side in ("image", "text") for kind in ("weight", "bias")}
    embeds = [[], []]
    for story in validation:
        inputs = small_processor(frames=[story["frames"]], captions=[story["captions"]])
        with torch.no_grad():
            output = aligned_model.model.eval()(**inputs)
        captioned = [i for i, caption in enumerate(story["captions"]) if caption]
        embeds[0].append(output.image_embeds[0, captioned])
        embeds[1].append(output.text_embeds[0, captioned])
    numbers = torch.arange(len(validation)).repeat_interleave(torch.tensor([len(part) for part in embeds[0]]))
    recalls = retrieval_metrics(*map(torch.cat, embeds), numbers)["text_to_image"]
    assert recalls["r10"] == pytest.approx(chosen["r10"]) and chosen["r10"] > recalls["chance_r10"]
    assert recalls["within_story_r1"] == pytest.approx(chosen["within_story_r1"])


def test_pages_without_a_caption_are_passed_over(aligned_model, small_processor):
    train, validation = stories_of(range(6)), stories_of(range(100, 104))
    fit_alignment(aligned_model, small_processor, train, validation, progress=False)
    fitted = aligned_model.model.image_projection.weight.clone()
    mute = [{**story, "captions": [None, *story["captions"]], "frames": story["frames"][:1] + story["frames"]}
            for story in train]  # fmt: skip
    silent = {**train[0], "captions": [None, " ", "", None]}
    fit_alignment(aligned_model, small_processor, [*mute, silent], validation, progress=False)
    assert_close(aligned_model.model.image_projection.weight, fitted)
    with pytest.raises(ValueError, match="fit_alignment: got 0 captions to fit on in train, expected 3"):
        fit_alignment(aligned_model, small_processor, [silent], validation, progress=False)


def test_places_are_those_of_the_encoders_or_of_the_attention(aligned_model, small_model, small_processor):
    story = draw_story(1)
    inputs = small_processor(frames=[story["frames"]], captions=[[None, *story["captions"][1:]]])
    for model, of_encoders in ((aligned_model, True), (small_model, False)):
        with torch.no_grad():
            one, other = (model(**inputs, spatial_temperature=t).image_embeds for t in (0.3, 3.0))
        assert torch.equal(one, other) == of_encoders
        with torch.no_grad():
            assert model(**inputs).text_embeds.isfinite().all()
            assert model(inputs["pixel_values"]).text_embeds.isfinite().all()


def test_it_is_trained_and_fitted_by_flags(stories_folder, small_config_file, tmp_path):
    flags = {"config": small_config_file, "dataset": stories_folder, "output_dir": tmp_path / "run", **ONE_STEP}
    flags = [f"--{name}={value}" for name, value in flags.items()]
    line = refused_line(train_module.main, [*flags, "--fit_alignment"])
    assert "fit_alignment: got align_encoder_features=false in the configuration, expected true" in line
    override = ["--config_overrides", "align_encoder_features=true", "--fit_alignment"]
    line = refused_line(train_module.main, [*flags, *override, "--baseline", "no_context"])
    assert "fit_alignment: got --baseline no_context, expected the model" in line
    train_module.main([*flags, *override])
    facts = json.loads((tmp_path / "run" / "results.json").read_text())["facts"]["training"]
    assert facts["alignment: dimensions"] == 16 and 0 <= facts["alignment: r10"] <= 1
    assert "alignment: shrinkage_texts" in (tmp_path / "run" / "README.md").read_text()
    model = StoryAttnForConditionalGeneration.from_pretrained(tmp_path / "run")
    assert model.model.image_projection.in_features == 8 + 16 + 16


def test_a_trained_model_is_fitted_and_stays_what_it_is(small_model, small_processor, stories_folder, tmp_path):
    for part in (small_model, small_processor):
        part.save_pretrained(tmp_path / "trained")
    flags = {"model_name_or_path": tmp_path / "trained", "dataset": stories_folder, "output_dir": tmp_path / "run"}
    flags |= {"config_overrides": "align_encoder_features=true", "fit_alignment": True}
    train_with({**flags, **ONE_STEP, "learning_rate": 1e-9, "weight_decay": 0})
    fitted = StoryAttnForConditionalGeneration.from_pretrained(tmp_path / "run").state_dict()
    trained = small_model.state_dict()
    assert set(fitted) == set(trained)
    for name in trained:
        if name.startswith(("model.image_projection.weight", "model.text_projection.weight")):
            assert fitted[name].shape != trained[name].shape
        elif "_projection.bias" not in name:
            assert_close(fitted[name], trained[name], atol=1e-6, rtol=0)
