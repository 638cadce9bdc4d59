"""The network in which frames of all models are compared, and the measures in its features."""

import sys

import numpy as np
import pytest
import torch
from level_model import LevelModel, LevelProcessor, level_stories
from pretrained_folders import MEAN, STD, save_vision
from storyattn.perceptual_loss import PerceptualLoss
from storyattn.training.evaluation import feature_network
from storyattn.training.evaluation.distribution_metrics import DistributionMetrics, frechet_distance, kernel_distance
from storyattn.training.evaluation.evaluate import evaluate_model
from storyattn.training.evaluation.feature_network import load_feature_network
from storyattn.training.evaluation.instruments import Instruments, load_instruments
from storyattn.training.evaluation.terminal import format_metrics
from storyattn.training.models import efficientnet_lite0
from storyattn.training.storyworld import generate_story
from torch.testing import assert_close


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return load_feature_network(str(save_vision(tmp_path_factory.mktemp("vision") / "network", "convnext")))


def frames(seed: int, number: int = 4) -> torch.Tensor:
    return torch.rand(number, 3, 32, 48, generator=torch.Generator().manual_seed(seed))


def test_distances_are_those_of_the_perceptual_loss(network):
    expected = PerceptualLoss(network.network, MEAN, STD).distances(frames(0), frames(1))
    assert_close(network.distances(frames(0), frames(1)), expected)
    assert_close(network.distances(frames(0), frames(0)), torch.zeros(4))


def test_what_is_remembered_does_not_change_what_is_measured(network, monkeypatch):
    monkeypatch.setattr(feature_network, "REMEMBERED", 3)
    before = [network.distances(frames(seed), frames(9)) for seed in range(3)]
    again = [network.distances(frames(seed).flip(0), frames(9).flip(0)).flip(0) for seed in (0, 1, 2)]
    assert_close(before, again)
    assert len(network._remembered) == 3


def test_the_frechet_distance_is_that_of_its_formula():
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(40, 5, generator=generator, dtype=torch.float64) @ torch.randn(5, 5, generator=generator).double()
    other = torch.randn(30, 5, generator=generator, dtype=torch.float64) + 1
    covariances = torch.cov(one.T), torch.cov(other.T)
    root = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0).sqrt().sum()
    means = (one.mean(0) - other.mean(0)).square().sum()
    assert_close(frechet_distance(one, other), float(means + sum(c.trace() for c in covariances) - 2 * root))
    assert frechet_distance(one, one) < 1e-9
    few = one[:3]  # fewer than features
    assert_close(frechet_distance(few, few + 2), 20.0)


def test_the_kernel_distance_is_unbiased():
    one = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    other = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    within_one = (1.0 + 1.5**3 + 1.5**3) / 3  # pairs of different ones
    within_other, between = 1.0, (3 + 2**3 + 1.0 + 2**3) / 6
    assert_close(kernel_distance(one, other), within_one + within_other - 2 * between)
    same = [kernel_distance(*torch.randn(2, 50, 4, dtype=torch.float64)) for _ in range(40)]
    assert abs(sum(same) / 40) < 0.1 and min(same) < 0


def test_worse_paintings_are_further_from_the_true_frames(network):
    true = torch.stack([network.pooled(frames(seed, 8)) for seed in range(3)]).flatten(0, 1)
    distances = []
    for strength in (0.0, 0.3, 1.0):
        metrics = DistributionMetrics()
        painted = [frames(seed, 8) * (1 - strength) + 0.5 * strength for seed in range(3)]
        metrics.update(torch.cat([network.pooled(some) for some in painted]), true)
        distances.append(metrics.compute()["fid"])
    assert distances[0] < 1e-6 < distances[1] < distances[2]
    assert DistributionMetrics().compute() == {"fid": None, "kid": None}


def test_models_are_compared_in_one_network_whatever_their_own(network):
    """Only the given network counts: a distance of the model itself is never asked for."""
    stories = level_stories([[0, 2, 5], [1, 4], [3, 6, 8, 9]])
    results = []
    for scale in (1.0, 100.0):
        model = LevelModel()
        model.perceptual_distance = lambda a, b, scale=scale: scale * torch.ones(len(a))
        results.append(
            evaluate_model(model, LevelProcessor(), stories, instruments=Instruments(network), progress=False)
        )
    first, second = results
    assert first == second and first["feature_network"] == network.name
    assert first["next_frame"]["perceptual"] < 1e-2 < first["next_frame"]["floors"]["copy_last"]["perceptual"]
    assert first["next_frame"]["fid"] < first["next_frame_alone"]["fid"]
    assert f"in features of {network.name}" in format_metrics(first)
    without = evaluate_model(LevelModel(), LevelProcessor(), stories, progress=False)
    assert without["next_frame"]["perceptual"] is without["next_frame"]["fid"] is without["feature_network"] is None
    assert any("no feature network" in note for note in without["notes"])


def test_a_network_that_is_missing_or_says_too_little_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="feature_network: got './nowhere', expected"):
        load_feature_network("./nowhere")
    folder = save_vision(tmp_path / "network")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match="feature_network: got .* without preprocessor_config.json"):
        load_feature_network(str(folder))
    assert load_instruments("").feature_network is None


def test_the_default_network_is_left_out_where_its_package_is_missing(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "PACKAGE", "no_such_package")
    monkeypatch.setattr(efficientnet_lite0, "is_installed", lambda: False)
    assert load_instruments().feature_network is None
    with pytest.raises(FileNotFoundError, match="efficientnet-lite0: got no package no_such_package"):
        efficientnet_lite0.load_efficientnet_lite0()


def test_other_weights_than_those_of_the_package_are_refused(tmp_path, monkeypatch):
    package = tmp_path / "other_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / efficientnet_lite0.WEIGHTS).write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(efficientnet_lite0, "PACKAGE", "other_weights")
    monkeypatch.setattr(efficientnet_lite0, "is_installed", lambda: True)
    with pytest.raises(FileNotFoundError, match="efficientnet-lite0: got other weights in"):
        efficientnet_lite0.load_efficientnet_lite0()
    sys.modules.pop("other_weights", None)


def test_efficientnet_lite0_finds_a_soft_frame_nearer_than_another_one(monkeypatch):
    pytest.importorskip(efficientnet_lite0.PACKAGE)
    monkeypatch.setattr(efficientnet_lite0, "is_installed", lambda: True)
    network = load_instruments().feature_network
    assert network.name == "efficientnet-lite0"
    gates = [layer for layer in network.network.modules() if type(layer).__name__.endswith("SqueezeExciteLayer")]
    for gate in gates:  # EfficientNet-Lite0 has none: those of transformers pass everything on
        maps = torch.rand(1, gate.expand.out_channels, 2, 2)
        assert_close(gate(maps), maps)
    assert gates
    one, other = (generate_story(seed, "test")["frames"][0] for seed in (3, 4))
    one, other = (torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None] / 255 for frame in (one, other))
    soft = 0.5 * one + 0.5 * torch.nn.functional.avg_pool2d(one, 3, 1, 1)
    assert network.pooled(one).shape == (1, 320)
    assert 0 < network.distances(soft, one) < 0.5 * network.distances(other, one)
