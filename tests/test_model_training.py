"""What a training step does: every part learns, every switch and weight counts, one batch can be learnt by heart."""

import math

import pytest
import torch
from conftest import SMALL_CONFIG, draw_story
from storyattn import DEFAULT_LOSS_WEIGHTS, StoryAttnConfig, StoryAttnForConditionalGeneration, build_processor
from storyattn.training.models.presets import load_preset
from storyattn.training.models.tokenizer import train_tokenizer

SWITCHES = {
    "use_spatial_attention": False,
    "use_cross_modal_fusion": False,
    "use_frame_copy": False,
    "use_frame_motion": False,
    "use_joint_frame_attention": False,
    "frame_context_captions": 0,
    "frame_sharpening": 0.5,
    "spatial_temperature": 2.0,
    "spatial_gamma": 1.0,
    "num_story_layers": 2,
    "decoder_context_captions": 1,
}


def make_model(config: StoryAttnConfig, seed: int = 0) -> StoryAttnForConditionalGeneration:
    torch.manual_seed(seed)
    return StoryAttnForConditionalGeneration(config)


def small_config(processor, **changes) -> StoryAttnConfig:
    config = StoryAttnConfig(**{**SMALL_CONFIG, **changes})
    config.adapt_to_tokenizer(processor.tokenizer)
    return config


@pytest.fixture(scope="module")
def batch(small_processor) -> dict:
    """Three drawn stories of three frames."""
    stories = [draw_story(seed, num_frames=3) for seed in (1, 2, 4)]
    frames, captions = ([story[name] for story in stories] for name in ("frames", "captions"))
    return dict(small_processor(frames=frames, captions=captions, return_tensors="pt"))


@pytest.mark.parametrize("preset", ["tiny"])
def test_every_parameter_learns(preset):
    stories = [draw_story(seed, num_frames=5) for seed in range(3)]
    frames, captions = ([story[name] for story in stories] for name in ("frames", "captions"))
    config = load_preset(preset)
    tokenizer = train_tokenizer([text for story in captions for text in story if text], config.vocab_size)
    config.adapt_to_tokenizer(tokenizer)
    inputs = build_processor(config, tokenizer)(frames=frames, captions=captions, return_tensors="pt")
    model = make_model(config).train()
    torch.manual_seed(0)
    model(**inputs, return_loss=True).loss.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_makes_a_difference(small_processor, batch, switch):
    """With the same weights, for a part less to draw would change all that are drawn after it."""
    models = [make_model(small_config(small_processor, **changes)) for changes in ({}, {switch: SWITCHES[switch]})]
    on, off = (model.state_dict() for model in models)
    alike = [name for name in off if name in on and off[name].shape == on[name].shape]
    # Temperature and gamma, which start at the configured values, are what two of the switches change.
    off.update({name: on[name] for name in alike if not name.endswith(("log_temperature", "log_gamma"))})
    models[1].load_state_dict(off)
    with torch.no_grad():
        losses = [model.eval()(**batch, return_loss=True).loss.item() for model in models]
    assert abs(losses[0] - losses[1]) > 1e-6


def test_switched_off_parts_are_gone(small_processor, batch):
    model = make_model(small_config(small_processor, use_spatial_attention=False, use_frame_copy=False)).eval()
    with torch.no_grad():
        output = model(**batch)
    cells = math.prod(output.spatial_attentions.shape[-2:])
    assert torch.allclose(output.spatial_attentions, torch.tensor(1 / cells))
    assert torch.equal(output.predicted_frames, output.painted_frames)
    assert output.lit_frames is None and output.moved_frames is None
    still = make_model(small_config(small_processor, use_frame_motion=False)).eval()(**batch)
    assert still.lit_frames is not None and still.moved_frames is None
    assert make_model(small_config(small_processor, use_cross_modal_fusion=False)).model.fusion is None


@pytest.mark.parametrize("copies", [True, False])
def test_predicted_frames_are_sharpened_outside_of_training(small_processor, batch, copies):
    outputs = {}
    for amount in (0.0, 1.5):
        config = small_config(small_processor, frame_sharpening=amount, use_frame_copy=copies, dropout=0.0)
        model = make_model(config).eval()
        for training in (False, True):
            model.frame_decoder.train(training)
            with torch.no_grad():
                outputs[amount, training] = model(**batch)
    plain, sharp = outputs[0.0, False], outputs[1.5, False].predicted_frames
    frames = plain.predicted_frames.flatten(0, 1)
    row, column = 9, 20
    around = frames[:, :, row - 2 : row + 3, column - 2 : column + 3].mean((-2, -1))
    pixel = frames[:, :, row, column]
    expected = (pixel + 1.5 * (pixel - around)).clamp(0, 1)
    assert torch.allclose(sharp.flatten(0, 1)[:, :, row, column], expected, atol=1e-6)
    assert not torch.allclose(expected, pixel, atol=1e-3)
    assert torch.equal(outputs[1.5, False].reconstructed_frames, plain.reconstructed_frames)
    assert torch.equal(outputs[1.5, True].predicted_frames, outputs[0.0, True].predicted_frames)


@pytest.mark.parametrize("name", DEFAULT_LOSS_WEIGHTS)
def test_every_loss_weight_counts(small_processor, batch, name):
    """Zero takes the part out of `loss_parts`; twice the weight adds the part once more, and moves the gradient."""
    losses, gradients, parts, weight = [], [], [], DEFAULT_LOSS_WEIGHTS[name] or 1.0
    named = {"object_names": ["fox"]} if name == "next_frame_objects" else {}
    if named:
        maps = torch.arange(24).expand(*batch["pixel_values"].shape[:2], 1, -1) < torch.arange(3)[:, None, None]
        batch = {**batch, "object_maps": maps}
    for factor in (0, 1, 2):
        weights = {name: factor * weight}
        model = make_model(small_config(small_processor, loss_weights=weights, **named)).eval()
        output = model(**batch, return_loss=True)
        output.loss.backward()
        losses.append(output.loss.item())
        parts.append(output.loss_parts)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert name not in parts[0] and name in parts[1]
    weighted = weight * parts[1][name].item()
    assert weighted > 0
    assert losses[2] - losses[1] == pytest.approx(weighted, abs=1e-4)
    assert losses[1] - losses[0] == pytest.approx(weighted, abs=1e-4)
    assert len(gradients[1]) != len(gradients[2]) or not torch.allclose(gradients[1], gradients[2], atol=1e-7)


def test_temperature_and_gamma_per_call(small_model, batch):
    def run(**options):
        with torch.no_grad():
            return small_model(**batch, **options)

    plain, sharp, flat = run(), run(spatial_temperature=0.1), run(spatial_temperature=100.0)
    largest = [output.spatial_attentions.flatten(3).amax(-1).mean().item() for output in (flat, plain, sharp)]
    assert largest[0] < largest[1] < largest[2]
    gated, open_gate = run(spatial_gamma=4.0), run(spatial_gamma=0.0)
    assert torch.equal(gated.spatial_attentions, plain.spatial_attentions), "gamma is no other temperature"
    assert not torch.allclose(gated.predicted_frames, open_gate.predicted_frames)
    for name, value in (("spatial_temperature", 0.0), ("spatial_gamma", -1.0)):
        with pytest.raises(ValueError, match=name):
            run(**{name: value})


def test_the_same_through_generate_and_predict(small_model, batch):
    plain = small_model.predict_next_frame(**batch)
    assert not torch.allclose(plain, small_model.predict_next_frame(**batch, spatial_gamma=5.0))
    scores = [
        small_model.generate(
            **batch, max_new_tokens=1, output_logits=True, return_dict_in_generate=True, **options
        ).logits[0]
        for options in ({}, {"spatial_gamma": 5.0}, {"spatial_temperature": 0.05})
    ]
    assert not torch.allclose(scores[0], scores[1]) and not torch.allclose(scores[0], scores[2])


def test_the_same_through_a_whole_story(small_model, small_processor):
    story = draw_story(1, num_frames=2)
    plain, gated = (
        small_model.continue_story(
            small_processor, story["frames"], story["captions"], 1, max_new_tokens=3, do_sample=False, **options
        )[-1]
        for options in ({}, {"spatial_gamma": 5.0})
    )
    written = small_processor.tokenize_captions([[gated.caption]])
    inputs = small_processor(frames=[story["frames"]], captions=[story["captions"]])
    painted = small_model.predict_next_frame(
        **inputs,
        next_input_ids=written["input_ids"][:, 0],
        next_attention_mask=written["attention_mask"][:, 0],
        spatial_gamma=5.0,
    )
    assert small_processor.postprocess_frames(painted)[0].tobytes() == gated.frame.tobytes()
    assert plain.frame.tobytes() != gated.frame.tobytes()


def test_no_loss_at_all_is_a_zero_that_can_be_differentiated(small_processor, batch):
    model = make_model(small_config(small_processor, loss_weights=dict.fromkeys(DEFAULT_LOSS_WEIGHTS, 0)))
    output = model(**batch, return_loss=True)
    assert output.loss_parts == {} and output.loss.item() == 0 and torch.is_tensor(output.loss)


@pytest.mark.slow
def test_one_batch_can_be_learnt_by_heart():
    """The tiny model, for smaller frames, with two stories of three: the next of each is given what comes before."""
    stories = [draw_story(seed, num_frames=3) for seed in (1, 2)]
    frames = [story["frames"] for story in stories]
    captions = [[f"Story {s}, part {t} of it." for t in range(3)] for s in range(2)]
    config = load_preset("tiny")
    config.image_size, config.next_caption_dropout = [32, 48], 0.0
    tokenizer = train_tokenizer([text for story in captions for text in story], config.vocab_size)
    config.adapt_to_tokenizer(tokenizer)
    inputs = build_processor(config, tokenizer)(frames=frames, captions=captions, return_tensors="pt")
    model = make_model(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=120)
    for step in range(120):
        loss = model(**inputs, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 10 == 9:
            with torch.no_grad():
                parts = model.eval()(**inputs, return_loss=True).loss_parts
            model.train()
            if parts["next_frame_l1"] < 0.015 and parts["next_caption"] < 0.08:
                break
    assert parts["next_frame_l1"] < 0.02 and parts["next_caption"] < 0.1


def test_gradient_checkpointing_changes_nothing(small_processor, batch):
    gradients = []
    for checkpointing in (False, True):
        model = make_model(small_config(small_processor)).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        torch.manual_seed(0)
        model(**batch, return_loss=True).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name


def test_next_captions_are_withheld_in_training_alone(small_processor, batch):
    predictions = []
    for share in (0.0, 1.0):
        model = make_model(small_config(small_processor, next_caption_dropout=share, num_reconstructed_frames=3))
        with torch.no_grad():
            predictions.append([model.train(mode)(**batch).predicted_frames for mode in (True, False)])
    assert not torch.allclose(predictions[0][0], predictions[1][0]) and torch.allclose(
        predictions[0][1], predictions[1][1], atol=1e-6
    )


def test_shapes_that_do_not_fit_are_refused(small_model, batch):
    cases = {
        "pixel_values": {"pixel_values": batch["pixel_values"][..., :-8]},
        "frame_mask": {"frame_mask": batch["frame_mask"][:, :2]},
        "input_ids": {"input_ids": batch["input_ids"][:, :2]},
        "attention_mask": {"attention_mask": None},
    }
    for name, change in cases.items():
        with pytest.raises(ValueError, match=f"{name}.*expected"):
            small_model(**{**batch, **change})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", [30, 48]),
        ("spatial_temperature", 0.0),
        ("spatial_gamma", -1.0),
        ("max_frames", 1),
        ("max_caption_length", 4096),  # more than the text encoder has positions for
        ("num_attention_heads", 5),
        ("frame_channels", [16]),
        ("next_caption_dropout", 1.5),
        ("decoder_context_captions", -1),
        ("loss_weights", {"sharpness": 1.0}),
        ("loss_weights", {"describe": -1.0}),
        ("vision_config", {"model_type": "eagle_eye"}),
    ],
)
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}.*got.*expected"):
        StoryAttnConfig(**{**SMALL_CONFIG, field: value})


def test_perceptual_distance(small_model):
    torch.manual_seed(0)
    pictures = torch.rand(3, 3, 32, 48)
    noise = torch.randn_like(pictures)
    near, far = ((pictures + amount * noise).clamp(0, 1).requires_grad_() for amount in (0.02, 0.3))
    small_model.train()
    assert small_model.perceptual_distance(pictures, pictures).abs().max() < 1e-6
    distances = small_model.perceptual_distance(near, pictures), small_model.perceptual_distance(far, pictures)
    assert distances[0].shape == (3,) and (distances[0] < distances[1]).all()
    distances[1].sum().backward()
    assert far.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in small_model.parameters()), "its weights are detached"


@pytest.mark.parametrize("shares_encoder", [True, False])
def test_perceptual_losses_compare_with_the_true_frames(small_processor, batch, tmp_path, shares_encoder):
    make_model(small_config(small_processor)).model.vision_encoder.backbone.save_pretrained(tmp_path / "network")
    network = None if shares_encoder else str(tmp_path / "network")
    model = make_model(small_config(small_processor, perceptual_model=network)).eval()
    frame_indices = torch.tensor([[2, 0]]).expand(len(batch["pixel_values"]), -1)
    with torch.no_grad():
        output = model(**batch, return_loss=True, reconstructed=frame_indices)
        frames = model.unnormalize(batch["pixel_values"])
        for name, outputs, true, mask in (
            ("next_frame", output.predicted_frames, frames[:, 1:], batch["frame_mask"][:, 1:].bool()),
            ("reconstruction", output.reconstructed_frames, frames[:, [2, 0]], batch["frame_mask"][:, [2, 0]].bool()),
        ):
            distances = model.perceptual_distance(outputs[mask], true[mask])
            assert torch.allclose(output.loss_parts[f"{name}_perceptual"], distances.mean(), atol=1e-5)


def test_an_own_perceptual_network_is_in_no_checkpoint(small_processor, batch, tmp_path):
    small = make_model(small_config(small_processor))
    small.model.vision_encoder.backbone.save_pretrained(tmp_path / "network")
    model = make_model(small_config(small_processor, perceptual_model=str(tmp_path / "network"))).eval()
    with torch.no_grad():
        parts = model(**batch, return_loss=True).loss_parts
        shared = make_model(small_config(small_processor)).eval()(**batch, return_loss=True).loss_parts
    assert parts["next_frame_l1"] == shared["next_frame_l1"]
    assert parts["next_frame_perceptual"] != shared["next_frame_perceptual"]
    assert model.state_dict().keys() == small.state_dict().keys()
