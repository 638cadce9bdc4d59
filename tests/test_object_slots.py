"""Object slots: maps of boxes, what slots say of the next frame, their loss, and training with it."""

import json
import math

import numpy as np
import pytest
import torch
from conftest import SMALL_CONFIG, small_config
from datasets import Dataset
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, build_image_processor
from storyattn.configuration_defaults import DEFAULT_LOSS_WEIGHTS, FLOW_LOSS_WEIGHTS
from storyattn.object_slots import PlacedObjects, object_loss
from storyattn.training.data.augmentation import Augmentation
from storyattn.training.data.object_maps import ObjectMaps, collate_maps, set_object_names
from storyattn.training.data.prepared_stories import prepare_stories
from storyattn.training.data.sources import read_stories
from storyattn.training.data.stream_source import open_stream
from storyattn.training.data.streaming import StoryStream
from storyattn.training.data.windows import TrainingCollator, TrainingWindows
from training_runs import read_log

NAMES = ["fox", "tree"]
WEIGHT = {"loss_weights": {"next_frame_objects": 0.5}}
NAMED = {"object_names": NAMES, **WEIGHT}
HEIGHT, WIDTH = 32, 48  # of the small model's frames, in 4 x 6 cells


def box(entity: str, *corners: float) -> dict:
    """Return an item of `boxes`."""
    return {"entity": entity, "kind": "thing", "box": list(corners)}


def drawn_maps(
    boxes: list[list[dict]],
    size: tuple[int, int] = (HEIGHT, WIDTH),
    augmentation: Augmentation | None = None,
    seed: int = 0,
    pixels: np.ndarray | None = None,
) -> np.ndarray:
    """Return the maps `(n, 2, 4, 6)` of frames of a size with these boxes, by default of frames that are all black."""
    config = small_config(**NAMED)
    maps = ObjectMaps(config, build_image_processor(config), augmentation or Augmentation())
    objects, window = maps.find(boxes, [list(size)] * len(boxes)), list(range(len(boxes)))
    pixels = np.zeros((len(boxes), HEIGHT, WIDTH, 3), np.uint8) if pixels is None else pixels
    return maps.draw(objects, pixels, window, seed, 0, 0)["object_maps"].reshape(len(boxes), 2, 4, 6)


@pytest.fixture(scope="module")
def stories() -> Dataset:
    """Twelve stories of the drawn world, with their boxes."""
    options = {"image_size": (HEIGHT, WIDTH), "num_frames": (4, 4), "wordings": "varied"}
    return read_stories("storyworld", "train", max_stories=12, storyworld_options=options)


# Maps


def test_an_object_that_comes_has_the_cells_of_its_box():
    expected = np.zeros((2, 4, 6), bool)
    expected[1, :2, 3:5] = True  # the tree, whose picture is twice as large as the model's frame
    first, found = drawn_maps([[], [box("tree", 48, 0, 80, 32), box("owl", 0, 0, 96, 64)]], (64, 96))
    assert np.array_equal(found, expected) and not first.any()


def test_a_small_object_covers_the_cell_of_its_centre_and_two_of_a_name_share_a_map():
    _, found = drawn_maps([[], [box("fox", 9, 1, 11, 3), box("fox", 46, 30, 48, 32), box("tree", 5, 5, 5, 9)]])
    assert np.argwhere(found).tolist() == [[0, 0, 1], [0, 3, 5]], "a box without area covers nothing"


def test_an_object_that_moves_has_its_new_box_and_one_that_goes_its_old_one():
    fox, there = box("fox", 0, 0, 8, 8), box("fox", 8, 0, 16, 8)
    tree = box("tree", 24, 16, 32, 24)
    maps = drawn_maps([[fox, tree], [fox, tree], [there, tree], [there], [there]])
    assert [np.argwhere(each).tolist() for each in maps] == [[], [], [[0, 0, 1]], [[1, 2, 3]], []]


def test_an_object_that_stays_has_a_map_where_its_looks_change():
    boxes = [[box("fox", 0, 0, 16, 16), box("tree", 24, 16, 40, 32)]] * 3
    pixels = np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)
    pixels[1:, :6, :16, 1] = 9  # three in eight of the fox
    pixels[1:, 16:21, 24:40] = 200  # five in sixteen of the tree
    pixels[2:, 16:32, 24:40, 2] += 2  # too little to be seen
    maps = drawn_maps(boxes, pixels=pixels)
    assert np.argwhere(maps).tolist() == [[1, 0, row, column] for row in (0, 1) for column in (0, 1)]


def test_frames_without_boxes_have_empty_maps():
    assert not drawn_maps([[], []])[1].any()
    config = small_config(**NAMED)
    maps = ObjectMaps(config, build_image_processor(config), Augmentation())
    pixels = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    assert not maps.draw(maps.find(None, [[HEIGHT, WIDTH]]), pixels, [0], 0, 0, 0)["object_maps"].any()


@pytest.mark.parametrize("changes", [{"crop": 0.4}, {"flip": True}, {"crop": 0.4, "flip": True}])
def test_a_map_shows_where_the_augmented_pixels_are(changes):
    augmentation, corners = Augmentation(**changes), (18, 6, 39, 25)
    frames = np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)
    frames[:2, corners[1] : corners[3], corners[0] : corners[2]] = np.array([128, 255])[:, None, None, None]
    boxes = [[], [box("fox", *corners)], [box("fox", *corners)]]
    for seed in range(12):
        pixels = augmentation.apply(frames, seed, 0, 0)
        lit = pixels[1, ..., 0].reshape(4, 8, 6, 8).mean((1, 3)) / 255
        _, found, changed = drawn_maps(boxes, augmentation=augmentation, seed=seed, pixels=pixels)
        assert found[0][lit > 0.7].all() and not found[0][lit < 0.05].any(), seed
        assert np.array_equal(found, changed), "where it is put out, its looks change"


def test_windows_and_streams_have_the_same_maps(stories, small_processor, tmp_path):
    config = small_config(max_frames=4, **WEIGHT)
    set_object_names(config, stories)
    prepared = prepare_stories(stories, small_processor.image_processor, "train")
    windows = TrainingWindows(prepared, small_processor, config)
    stories.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    stream = StoryStream(open_stream(str(tmp_path), "train"), small_processor, config, 1, buffer_size=1, num_batches=12)
    expected = [windows[0, number]["object_maps"] for number in range(12)]
    batches = [batch["object_maps"][0].numpy() for batch, _, _ in stream]
    assert sorted(each.tobytes() for each in expected) == sorted(each.tobytes() for each in batches)
    assert all(each.any() and not each[0].any() for each in expected)
    batch = TrainingCollator(small_processor)([windows[0, 0], windows[0, 1]])
    assert batch["object_maps"].shape == (2, 4, len(config.object_names), 24)
    padded = collate_maps([expected[0], expected[1][:2]], 4)
    assert torch.equal(padded[0], torch.from_numpy(expected[0])) and not padded[1, 2:].any()


def test_a_model_without_the_loss_has_no_maps(stories, small_processor):
    config = small_config(object_names=NAMES)
    set_object_names(config, stories)
    assert config.object_names == NAMES
    prepared = prepare_stories(stories, small_processor.image_processor, "train")
    assert "object_maps" not in TrainingWindows(prepared, small_processor, config)[0, 0]


# Names


def test_the_names_are_those_of_the_boxes_or_of_the_trained_model(stories):
    config = small_config(**WEIGHT)
    set_object_names(config, stories)
    assert config.object_names == sorted({one["entity"] for row in stories["boxes"] for at in row for one in at})
    named = small_config(**NAMED)
    set_object_names(named, stories)
    assert named.object_names == NAMES


def test_stories_that_name_nothing_or_too_much_are_refused(stories, monkeypatch):
    with pytest.raises(ValueError, match=r"next_frame_objects 0.5 and training stories without boxes, expected a col"):
        set_object_names(small_config(**WEIGHT), stories.remove_columns("boxes"))
    monkeypatch.setattr("storyattn.training.data.object_maps.MOST_NAMES", 3)
    with pytest.raises(ValueError, match=r"boxes with \d+ different names, expected 1 to 3"):
        set_object_names(small_config(**WEIGHT), stories)


def test_names_are_different():
    with pytest.raises(ValueError, match=r"object_names: got 2 names, expected all of them different"):
        small_config(object_names=["fox", "fox"])


# The loss


def said(presence: torch.Tensor, centres: torch.Tensor, sizes: torch.Tensor) -> PlacedObjects:
    """Return what slots say that are sure: presence and centres `(names,)`, and sizes `(names, 2)` in cells."""
    places = 60.0 * torch.nn.functional.one_hot(centres, 24)
    return PlacedObjects(*(x.float()[None, None] for x in (60.0 * presence - 30, places, sizes.float().log())))


def test_a_small_object_counts_as_much_as_a_large_one():
    maps = torch.zeros(1, 1, 2, 4, 6, dtype=torch.bool)
    maps[0, 0, 0, :2, :5], maps[0, 0, 1, 3, 2] = True, True
    maps = maps.flatten(-2)
    terms = maps, (4, 6), torch.ones(1, 1, dtype=torch.bool)
    sizes = torch.tensor([[2, 5], [1, 1]])
    assert object_loss(said(torch.ones(2), torch.tensor([2, 20]), sizes), *terms) < 1e-6
    for name in range(2):
        presence, centres, wrong = torch.ones(2), torch.tensor([2, 20]), sizes.clone()
        presence[name] = 0
        assert object_loss(said(presence, torch.tensor([2, 20]), sizes), *terms).item() == pytest.approx(30 / 2)
        centres[name] = 23
        assert object_loss(said(torch.ones(2), centres, sizes), *terms).item() == pytest.approx(60 / 2)
        wrong[name, 1] *= 2
        assert object_loss(said(torch.ones(2), torch.tensor([2, 20]), wrong), *terms).item() == pytest.approx(
            math.log(2) / 2, rel=1e-5
        )


def test_only_objects_that_change_are_to_be_placed():
    maps = torch.zeros(1, 1, 3, 24, dtype=torch.bool)
    maps[..., 1, 5] = maps[..., 2, 7] = True
    shapes = ((1, 1, 3), (1, 1, 3, 24), (1, 1, 3, 2))
    objects = PlacedObjects(*(torch.zeros(shape, requires_grad=True) for shape in shapes))
    loss = object_loss(objects, maps, (4, 6), torch.ones(1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx((3 * math.log(2) + 2 * math.log(24)) / 2)
    loss.backward()
    assert objects.places.grad.any(-1).tolist() == [[[False, True, True]]]
    assert (objects.presence.grad > 0).tolist() == [[[True, False, False]]]


def test_frames_that_do_not_count_and_frames_without_objects():
    maps = torch.zeros(1, 2, 2, 24, dtype=torch.bool)
    maps[0, 0, 0, 0] = True
    objects = PlacedObjects(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, 24), torch.zeros(1, 2, 2, 2))
    terms = objects, maps, (4, 6)
    alone = object_loss(*terms, torch.tensor([[False, True]]))
    assert alone.item() == pytest.approx(2 * math.log(2))
    both = object_loss(*terms, torch.tensor([[True, True]]), count=torch.tensor(4.0))
    assert both.item() == pytest.approx((4 * math.log(2) + math.log(24)) / 4, rel=1e-6)


# The model


@pytest.mark.parametrize("rows, columns, centre", [(1, 1, 0), (2, 3, 9), (3, 2, 14), (4, 6, 8)])
def test_said_boxes_are_those_that_the_loss_asks_for(rows, columns, centre):
    top, left = centre // 6 - (rows - 1) // 2, centre % 6 - (columns - 1) // 2
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[max(top, 0) : top + rows, max(left, 0) : left + columns] = True
    presence, centres = torch.tensor([1, 0]), torch.tensor([centre, centre])
    maps = said(presence, centres, torch.tensor([[rows, columns]] * 2)).maps((4, 6))[0, 0].view(2, 4, 6)
    assert torch.equal(maps[0], expected) and not maps[1].any()


def test_a_said_box_lies_in_the_median_row_and_column():
    """Not where its centre is likeliest, which is the corner."""
    shares = torch.zeros(1, 1, 1, 4, 6)
    shares[..., 0, 0], shares[..., 1, 3], shares[..., 2, 4], shares[..., 3, 5] = 0.4, 0.2, 0.25, 0.15
    objects = PlacedObjects(torch.ones(1, 1, 1), (shares + 1e-9).log().flatten(-2), torch.zeros(1, 1, 1, 2))
    assert objects.maps((4, 6)).view(4, 6).nonzero().tolist() == [[1, 3]]


def test_an_object_is_painted_from_a_probability_of_a_third_on():
    objects = said(torch.ones(4), torch.arange(4), torch.ones(4, 2))
    objects = objects._replace(presence=torch.tensor([[[0.3, 0.34, 0.6, 0.01]]]).logit())
    assert objects.maps((4, 6)).any(-1).tolist() == [[[False, True, True, False]]]


@pytest.mark.parametrize("kind", ["regression", "flow"])
def test_the_frame_takes_over_what_a_slot_holds_in_its_box(small_processor, kind):
    decoder = named_model(small_processor, frame_decoder_type=kind).frame_decoder.eval()
    cells, context = torch.randn(1, 2, 24, 32), torch.randn(1, 2, 5, 32)
    changing = torch.zeros(1, 1, 2, 24, dtype=torch.bool)
    changing[0, 0, 1, 7:9] = True
    changed, objects = decoder._placed(cells, context, torch.ones(1, 2, 1, 1, 5, dtype=torch.bool), 1, changing)
    assert objects.places.shape == (1, 1, 2, 24)
    assert (changed != cells).any(-1).nonzero().tolist() == [[0, 0, 7], [0, 0, 8]]


def named_model(processor, **changes) -> StoryAttnForConditionalGeneration:
    """Return a small model that names objects, with fresh weights."""
    config = StoryAttnConfig(**{**SMALL_CONFIG, **NAMED, **changes})
    config.adapt_to_tokenizer(processor.tokenizer)
    torch.manual_seed(0)
    return StoryAttnForConditionalGeneration(config)


@pytest.mark.parametrize("kind", ["regression", "flow"])
def test_the_loss_trains_the_slots(small_processor, kind):
    model = named_model(small_processor, frame_decoder_type=kind).train()
    torch.manual_seed(1)
    batch = {"pixel_values": torch.randn(2, 3, 3, HEIGHT, WIDTH), "frame_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    maps = torch.zeros(2, 3, 2, 24, dtype=torch.bool)
    maps[0, 1, 0, :5] = maps[0, 2, 0, 3:7] = maps[1, 0, 1, 2] = True
    output = model(**batch, object_maps=maps, return_loss=True)
    assert output.object_logits.shape == (2, 2, 2) and output.object_logits.mean() < -1
    said = PlacedObjects(output.object_logits, output.object_places, output.object_sizes)
    mask = torch.tensor([[True, True], [True, False]])
    part = output.loss_parts["next_frame_objects"]
    torch.testing.assert_close(part, object_loss(said, maps[:, 1:], (4, 6), mask))
    part.backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    parts = {name.split(".")[1] for name in trained if name.startswith("frame_decoder.")}
    assert "slots" in parts and not parts & {"layers", "painter", "noise_reader"}, parts
    assert "next_frame_objects" not in model(**batch, return_loss=True).loss_parts


@pytest.mark.parametrize("kind", ["regression", "flow"])
def test_a_story_of_one_frame_has_no_next_frame_to_place_objects_in(small_processor, kind):
    model = StoryAttnForConditionalGeneration(small_config(**NAMED, frame_decoder_type=kind)).eval()
    inputs = small_processor(frames=[[np.zeros((HEIGHT, WIDTH, 3), np.uint8)]], captions=[["The fox."]])
    with torch.no_grad():
        output = model(**inputs)
    assert output.object_logits.shape == (1, 0, len(NAMES)) and output.predicted_frames.shape[1] == 0
    assert output.reconstructed_frames.shape[1] == 1


def test_without_a_loss_of_frames_training_paints_none(small_processor, monkeypatch):
    weights = dict.fromkeys(DEFAULT_LOSS_WEIGHTS, 0.0) | {"next_frame_objects": 1.0}
    model = named_model(small_processor, frame_decoder_type="flow").train()
    batch = {"pixel_values": torch.randn(2, 3, 3, HEIGHT, WIDTH), "object_maps": torch.zeros(2, 3, 2, 24)}
    batch["object_maps"][0, 1, 0, :5] = 1
    torch.manual_seed(1)
    expected = model(**batch, return_loss=True).loss_parts["next_frame_objects"]
    model.config.loss_weights = weights | dict.fromkeys(FLOW_LOSS_WEIGHTS, 0.0)
    monkeypatch.setattr(model.frame_decoder, "_paint", lambda *read: pytest.fail("a frame is painted"))
    torch.manual_seed(1)
    output = model(**batch, return_loss=True)
    assert output.predicted_frames is None and list(output.loss_parts) == ["next_frame_objects"]
    torch.testing.assert_close(output.loss, expected)
    output.loss.backward()
    assert model.frame_decoder.slots.slots.grad.any()
    monkeypatch.undo()
    assert model(**batch).predicted_frames is not None and model.eval()(**batch).predicted_frames is not None


def test_training_withholds_a_tenth_of_the_boxes(small_processor):
    decoder = named_model(small_processor).frame_decoder
    inputs = torch.randn(400, 1, 24, 32), torch.randn(400, 1, 5, 32), torch.ones(400, 1, 1, 1, 5, dtype=torch.bool)
    changing = torch.zeros(400, 1, 2, 24, dtype=torch.bool)
    changing[:, :, 1, 7] = True
    shares = []
    for training in (True, False):
        torch.manual_seed(2)
        changed, _ = decoder.train(training)._placed(*inputs, 1, changing)
        shares.append((changed == inputs[0]).all(-1)[:, 0, 7].float().mean().item())
    assert 0.05 < shares[0] < 0.16 and shares[1] == 0, shares


def test_a_training_learns_the_names_and_keeps_them(launch, stories, tmp_path):
    for split in ("train", "validation", "test"):
        stories.to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    flags = {"dataset": tmp_path / "data", "config_overrides": "loss_weights.next_frame_objects=1"}
    flags |= {"max_train_steps": 12, "learning_rate": 0.01, "warmup_steps": 1, "train_batch_size": 12}
    launch(tmp_path / "run", **flags, eval_steps=0, logging_steps=1, gradient_accumulation_steps=1)
    losses = [line["loss_parts"]["next_frame_objects"] for line in read_log(tmp_path / "run") if "loss_parts" in line]
    assert np.mean(losses[-3:]) < 0.8 * losses[0], losses
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["object_names"]
    assert stored == sorted({one["entity"] for row in stories["boxes"] for frame in row for one in frame})
    loaded = StoryAttnForConditionalGeneration.from_pretrained(tmp_path / "run")
    assert len(loaded.frame_decoder.slots.slots) == len(stored)


def test_a_training_on_stories_without_boxes_is_refused(refused, stories_folder):
    line = refused(dataset=stories_folder, config_overrides="loss_weights.next_frame_objects=1")
    assert "loss_weights.next_frame_objects 1 and training stories without boxes" in line
