"""Measures of written captions, against numbers worked out by hand."""

import math

import torch
from storyattn.training.evaluation.caption_metrics import (
    TEXT_METRICS,
    CaptionMetrics,
    load_text_metric,
    text_scores,
    token_losses,
)
from torch.testing import assert_close


def test_text_scores_of_true_and_of_foreign_captions():
    captions = ["The fox finds a red kite in the park .", "Лиса нашла змея в парке у реки ."]
    perfect = text_scores(captions, captions)
    assert_close(
        {name: perfect[name] for name in ("bleu4", "rouge_l", "chrf", "cider")},
        {"bleu4": 100.0, "rouge_l": 100.0, "chrf": 100.0, "cider": 10.0},
    )
    wrong = text_scores(["zzz"], ["The fox finds a red kite"])
    assert (wrong["bleu4"], wrong["rouge_l"], wrong["chrf"], wrong["distinct2"]) == (0.0, 0.0, 0.0, 0.0)
    assert set(text_scores([], []).values()) == {None}


def test_each_metric_is_a_module_of_evaluate():
    """Which checks and copies the texts first: the same numbers, for one reference and for several."""
    predictions = ["the red fox runs", "an owl"]
    for references in (["the red fox ran", "the owl"], [["the red fox ran", "a fox"], ["the owl"]]):
        scores = text_scores(predictions, references)
        for name in TEXT_METRICS:
            inputs = {"references": references} if name != "distinct2" else {}
            assert load_text_metric(name).compute(predictions=predictions, **inputs) == {name: scores[name]}


def test_rouge_l_and_distinct2_by_hand():
    scores = text_scores(["a b c a b", "a b"], ["a x c b", "x y"])
    # longest common subsequence a c b: precision 3/5, recall 3/4, F 2/3; the second has none
    assert_close(scores["rouge_l"], 100 * (2 / 3) / 2)
    assert_close(scores["distinct2"], 3 / 5)  # ab bc ca ab + ab: three different of five


def test_meteor_by_hand():
    """Words match exactly or by their stem; precision 3/4, recall 3/5, in two runs of words."""
    mean = (3 / 4) * (3 / 5) / (0.9 * 3 / 4 + 0.1 * 3 / 5)
    expected = mean * (1 - 0.5 * (2 / 3) ** 3)
    assert_close(text_scores(["The foxes ran home"], ["The fox walks slowly home"])["meteor"], 100 * expected)
    assert text_scores(["a big house"], ["one large home"])["meteor"] == 0.0  # synonyms do not match
    assert text_scores(["", "?"], ["the fox", "the fox"])["meteor"] == 0.0


def test_cider_by_hand():
    """Two references without a word in common: every n-gram weighs ln 2, which falls out of the cosines."""
    # The first is right in words and pairs of words and has no longer n-grams; the second has one word of two.
    assert_close(text_scores(["A b.", "a c"], ["a b", "c d"])["cider"], 10 / 4 * (2 + 1 / 2) / 2)
    # Said twice: clipped to once; cosines 2/4 and 1/sqrt(5), and two words too many.
    twice = 10 / 4 * (2 / 4 + 1 / math.sqrt(5)) * math.exp(-(2**2) / (2 * 6**2))
    assert_close(text_scores(["a b a b", ""], ["a b", "c d"])["cider"], twice / 2)
    # What all references have says nothing: of "the fox" and "the owl" a wrong animal is all wrong.
    assert text_scores(["the owl", "the fox"], ["the fox", "the owl"])["cider"] == 0.0


def test_several_references_by_hand():
    """ROUGE-L takes the best reference, CIDEr the mean, BLEU and chrF those that the n-grams are in."""
    references = [["a b", "c d"], ["e f"]]
    scores = text_scores(["c d", "e f"], references)
    assert_close(scores["rouge_l"], 100.0)
    assert_close(scores["chrf"], 100.0)
    # Every n-gram is in the references of one caption of two: its weight falls out of the cosines.
    assert_close(scores["cider"], 10 / 4 * 2 * (1 / 2 + 1) / 2)
    one = text_scores(["c d", "e f"], ["a b", "e f"])
    assert one["rouge_l"] == 50.0 and one["chrf"] < 60
    longer = ["a b c d e", "f g h i j"]
    assert_close(text_scores([longer[1]], [longer])["bleu4"], 100.0)
    metrics = CaptionMetrics()
    metrics.add_text("c d", "a b", "a b", references[0])
    metrics.add_text("e f", "e f", "")
    computed = metrics.compute(None, seed=0)
    assert {name: computed[name] for name in scores} == scores
    assert_close(computed["floors"]["last_caption"]["rouge_l"], 50.0)


def test_bits_per_byte_are_summed_over_captions_and_count_bytes():
    metrics = CaptionMetrics()
    logits, ids = torch.zeros(1, 3, 8), torch.tensor([[1, 5, 2]])  # two tokens of 3 bits
    metrics.add_loss("loss", logits, ids, torch.ones_like(ids), num_bytes=len("Лиса".encode()))
    metrics.add_loss("loss", logits, ids, torch.tensor([[1, 1, 0]]), num_bytes=1)
    scores = metrics.compute(None, seed=0)
    assert_close(scores["bits_per_byte"], (2 * 3 + 3) / (8 + 1), atol=1e-6, rtol=0)
    assert_close(scores["loss"], 3 * math.log(2), atol=1e-6, rtol=0)
    assert scores["bits_per_byte_shuffled_frames"] is None


def test_token_losses_leave_out_padding_and_the_start_token():
    logits = torch.zeros(2, 4, 8)
    logits[0, 0, 5] = 100.0  # sure of the right first token
    input_ids = torch.tensor([[1, 5, 2, 0], [1, 6, 7, 2]])
    loss, tokens = token_losses(logits, input_ids, (input_ids > 0).long())
    assert tokens == 5
    assert_close(loss, 4 * math.log(8), atol=1e-4, rtol=0)
