"""The measures of CoDraw, against numbers worked out by hand."""

import pytest
from storyattn.training.codraw.object_metrics import (
    Detection,
    mean_scores,
    picture_scores,
    relation_agreement,
    with_whole_depths,
)

NEAR_LEFT = Detection(1, 0.2, 0.6, 0.0)
FAR_RIGHT = Detection(2, 0.8, 0.5, 1.0)
MIDDLE = Detection(3, 0.5, 0.9, 0.5)


def test_classes_are_counted_per_picture():
    scores = picture_scores([NEAR_LEFT, FAR_RIGHT], [FAR_RIGHT, MIDDLE, Detection(4, 0.1, 0.1, 0.0)])
    assert scores["precision"] == 1 / 2 and scores["recall"] == 1 / 3
    assert scores["f1"] == pytest.approx(2 / 5)
    assert scores["rsim"] == pytest.approx(1 / 3)  # the one class in common lies the same


def test_a_share_of_nothing_is_zero():
    nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rsim": 0.0}
    assert picture_scores([], [MIDDLE]) == picture_scores([MIDDLE], []) == picture_scores([], []) == nothing
    assert picture_scores([NEAR_LEFT], [MIDDLE]) == nothing


def test_relations_are_signs_of_pairs_and_against_the_center():
    true = [NEAR_LEFT, FAR_RIGHT]
    assert relation_agreement(true, true) == 1.0
    # x of the first: right of the center and still left of the other; 7 of 8 signs hold.
    assert relation_agreement([Detection(1, 0.6, 0.6, 0.0), FAR_RIGHT], true) == 7 / 8
    # Sides exchanged: both pairs and both places against the center are wrong in x.
    assert relation_agreement([Detection(1, 0.9, 0.6, 0.0), Detection(2, 0.1, 0.5, 1.0)], true) == 4 / 8
    # Depths equal: both pairs, and one of the two against the center; y does not count.
    assert relation_agreement([Detection(1, 0.2, 0.0, 0.0), Detection(2, 0.8, 0.0, 0.0)], true) == 5 / 8
    # A class that only one picture shows does not count.
    assert relation_agreement([NEAR_LEFT, FAR_RIGHT, MIDDLE], true) == 1.0


def test_rsim_is_agreement_times_recall():
    scores = picture_scores([Detection(1, 0.6, 0.6, 0.0), FAR_RIGHT], [NEAR_LEFT, FAR_RIGHT, MIDDLE])
    assert scores["rsim"] == pytest.approx(7 / 8 * 2 / 3)


def test_scores_are_means_over_pictures():
    scores = mean_scores([([MIDDLE], [MIDDLE]), ([], [MIDDLE])])
    assert scores == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "rsim": 0.5, "count": 2}
    assert mean_scores([]) == {}


def test_depths_are_rounded_to_those_of_clip_art():
    detections = [Detection(1, 0.0, 0.0, depth) for depth in (-0.3, 0.2, 0.3, 0.6, 0.8, 1.4)]
    assert [detection.depth for detection in with_whole_depths(detections)] == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
