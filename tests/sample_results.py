"""Results and facts of a training, made up, for the tests of cards and folders."""

FRAMES = {"l1": 0.1234567890123, "l1_changed": 0.3, "psnr": 20.0, "ssim": 0.6, "perceptual": 0.2, "edge_ratio": 0.9}
TEXTS = {"loss": 2.5, "loss_shuffled_frames": 2.75, "bleu4": 0.1, "rouge_l": 0.4, "chrf": 0.3, "distinct2": 0.5}
TEXTS |= {"bits_per_byte": 1.5, "bits_per_byte_shuffled_frames": 1.75, "cider": 0.625}
RECALL = {f"{prefix}{name}": 0.25 for prefix in ("", "chance_") for name in ("r1", "r5", "r10", "within_story_r1")}
METRICS = {
    "next_frame": {**FRAMES, "floors": {"copy_last": {**FRAMES, "l1": 0.98765}}, "shuffled_caption": {"l1": 0.2}},
    "next_frame_alone": FRAMES,
    "reconstruction": FRAMES,
    "next_caption": {**TEXTS, "floors": {"last_caption": {"bleu4": 0.05}}},
    "describe": {**TEXTS, "floors": {}},
    "retrieval": {"text_to_image": RECALL, "image_to_text": RECALL},
}
RESULTS = {"metrics": METRICS, "num_windows": 9, "num_stories": 3}
FACTS = {"dataset": "storyworld", "split": "test", "command": "train.py --x", "training": {"steps": 7, "seed": 0}}
