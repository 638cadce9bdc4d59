"""Nothing leaks: what comes later in V_1 F_1 V_2 F_2 ... does not reach what comes before, and padding nothing."""

import pytest
import torch
from conftest import SMALL_CONFIG
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration

NUM_FRAMES, TOLERANCE = 4, 1e-5


@pytest.fixture(scope="module")
def model():
    """A small model that also reads the last two captions verbatim, its weights drawn larger than usual."""
    torch.manual_seed(1)
    config = StoryAttnConfig(**SMALL_CONFIG, decoder_context_captions=2)
    model = StoryAttnForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def make_inputs(batch: int = 2, num_frames: int = NUM_FRAMES, length: int = 7) -> dict[str, torch.Tensor]:
    """Random stories; the second caption of the first story is shorter, the third of the second is missing."""
    generator = torch.Generator().manual_seed(0)
    attention_mask = torch.ones(batch, num_frames, length, dtype=torch.long)
    attention_mask[0, 1, 4:] = 0
    if batch > 1:
        attention_mask[1, 2] = 0
    ids = torch.randint(3, 300, (batch, num_frames, length), generator=generator)
    return {
        "pixel_values": torch.rand(batch, num_frames, 3, 32, 48, generator=generator) * 2 - 1,
        "frame_mask": torch.ones(batch, num_frames, dtype=torch.long),
        "input_ids": ids * attention_mask,
        "attention_mask": attention_mask,
    }


# For each output the half-frame (2 t for V_t, 2 t + 1 for F_t) whose state it is read from, by its index t.
HALF_FRAMES = {
    "describe_states": lambda t: 2 * t,
    "continue_states": lambda t: 2 * t + 1,
    "describe_logits": lambda t: 2 * t,
    "next_caption_logits": lambda t: 2 * t + 1,
    "reconstructed_frames": lambda t: 2 * t,
}
# Outputs of one frame or caption alone.
OF_ONE_FRAME = {"image_embeds": "frame", "spatial_attentions": "frame", "text_embeds": "caption"}


def outputs(model, inputs, **options) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return dict(model(**inputs, **options))


def change(inputs: dict, what: str, t: int) -> dict:
    """The inputs with frame or caption t of every story exchanged."""
    inputs = {name: value.clone() for name, value in inputs.items()}
    if what == "frame":
        inputs["pixel_values"][:, t] = -inputs["pixel_values"][:, t].roll(7, dims=-1)
    else:
        inputs["input_ids"][:, t] = (inputs["input_ids"][:, t] + 17) % 290 + 3
        inputs["input_ids"] *= inputs["attention_mask"]
    return inputs


def moved(before: torch.Tensor, after: torch.Tensor) -> float:
    return (before - after).abs().max().item()


@pytest.mark.parametrize("what", ["frame", "caption"])
@pytest.mark.parametrize("t", range(NUM_FRAMES))
def test_later_inputs_do_not_reach_earlier_outputs(model, what, t):
    inputs = make_inputs(batch=1)
    before, after = outputs(model, inputs), outputs(model, change(inputs, what, t))
    changed = 2 * t if what == "frame" else 2 * t + 1
    for name, half_frame in HALF_FRAMES.items():
        for index in range(before[name].shape[1]):
            difference = moved(before[name][:, index], after[name][:, index])
            if half_frame(index) < changed:
                # The logits of a caption read, token by token, the caption itself.
                reads_itself = what == "caption" and name == "describe_logits" and index == t
                following = what == "caption" and name == "next_caption_logits" and index + 1 == t
                if not reads_itself and not following:
                    assert difference <= TOLERANCE, (name, index, difference)
            elif name != "reconstructed_frames" or what == "frame":
                assert difference > TOLERANCE, (name, index)


@pytest.mark.parametrize("name", ["describe_logits", "next_caption_logits"])
def test_a_token_is_predicted_from_the_tokens_before_it(model, name):
    inputs = make_inputs(batch=1)
    other = {key: value.clone() for key, value in inputs.items()}
    other["input_ids"][0, 3, 4] = (other["input_ids"][0, 3, 4] + 17) % 290 + 3
    index = 3 if name == "describe_logits" else 2
    before, after = outputs(model, inputs)[name][0, index], outputs(model, other)[name][0, index]
    assert moved(before[:4], after[:4]) <= TOLERANCE
    assert moved(before[4:], after[4:]) > TOLERANCE


@pytest.mark.parametrize("with_caption", [True, False])
@pytest.mark.parametrize("what", ["frame", "caption"])
@pytest.mark.parametrize("t", range(NUM_FRAMES))
def test_a_painted_frame_reads_what_it_may(model, with_caption, what, t):
    """Frame i + 1 is painted from frames and captions up to i and, if given, from caption i + 1."""
    inputs = make_inputs(batch=1)
    before = outputs(model, inputs, use_next_caption=with_caption)["predicted_frames"]
    after = outputs(model, change(inputs, what, t), use_next_caption=with_caption)["predicted_frames"]
    for index in range(NUM_FRAMES - 1):
        reads = t <= index or (with_caption and what == "caption" and t == index + 1)
        difference = moved(before[:, index], after[:, index])
        assert (difference > TOLERANCE) == reads, (index, difference)


@pytest.mark.parametrize(("name", "what"), OF_ONE_FRAME.items())
def test_embeddings_and_maps_are_of_one_frame_or_caption_alone(model, name, what):
    inputs = make_inputs(batch=1)
    before = outputs(model, inputs)[name]
    for kind in ("frame", "caption"):
        after = outputs(model, change(inputs, kind, 1))[name]
        for t in range(NUM_FRAMES):
            assert (moved(before[:, t], after[:, t]) > TOLERANCE) == (kind == what and t == 1), (kind, t)


def padded(inputs: dict, frames: int, tokens: int) -> dict:
    """The inputs with more frames, full of noise, and longer captions, all masked."""
    generator = torch.Generator().manual_seed(5)
    batch, number = inputs["frame_mask"].shape
    noise = torch.rand(batch, frames, 3, 32, 48, generator=generator)
    result = {"pixel_values": torch.cat([inputs["pixel_values"], noise], dim=1)}
    result["frame_mask"] = torch.nn.functional.pad(inputs["frame_mask"], (0, frames))
    for name in ("input_ids", "attention_mask"):
        result[name] = torch.nn.functional.pad(inputs[name], (0, tokens, 0, frames))
    return result


def test_padding_changes_neither_loss_nor_outputs(model):
    inputs = make_inputs()
    plain = outputs(model, inputs, return_loss=True)
    wide = outputs(model, padded(inputs, 2, 5), return_loss=True)
    assert abs(plain["loss"] - wide["loss"]) <= TOLERANCE
    assert plain["loss_parts"].keys() == wide["loss_parts"].keys()
    for name, part in plain["loss_parts"].items():
        assert abs(part - wide["loss_parts"][name]) <= TOLERANCE, name
    for name in ("predicted_frames", "reconstructed_frames", *HALF_FRAMES, *OF_ONE_FRAME):
        cut = wide[name][:, : plain[name].shape[1]]
        if "logits" in name:
            mask = inputs["attention_mask"][:, -cut.shape[1] :].bool()
            assert moved(plain[name][mask], cut[:, :, : plain[name].shape[2]][mask]) <= TOLERANCE, name
        else:
            assert moved(plain[name], cut) <= TOLERANCE, name


def test_a_story_comes_out_the_same_beside_a_longer_one(model):
    long = make_inputs()
    short = {name: value[1:, :2] for name, value in long.items()}
    mixed = {name: value.clone() for name, value in long.items()}
    mixed["frame_mask"][1, 2:] = 0
    for name in ("input_ids", "attention_mask"):
        mixed[name][1, 2:] = 0
    alone, beside = outputs(model, short), outputs(model, mixed)
    for name in ("predicted_frames", "reconstructed_frames", *HALF_FRAMES, *OF_ONE_FRAME):
        number = alone[name].shape[1]
        assert moved(alone[name][0], beside[name][1, :number]) <= TOLERANCE, name


def test_what_is_masked_is_not_read(model):
    """Pixels of masked frames and ids of masked tokens are of no consequence; those that are there are."""
    inputs = padded(make_inputs(), 1, 2)
    other = {name: value.clone() for name, value in inputs.items()}
    other["pixel_values"][:, -1] = 0.3
    other["input_ids"][inputs["attention_mask"] == 0] = 9
    before, after = outputs(model, inputs, return_loss=True), outputs(model, other, return_loss=True)
    assert abs(before["loss"] - after["loss"]) <= TOLERANCE
    other["pixel_values"][:, 0] = 0.3
    assert abs(before["loss"] - outputs(model, other, return_loss=True)["loss"]) > TOLERANCE
