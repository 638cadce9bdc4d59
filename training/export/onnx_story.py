"""Run exported parts with onnxruntime, step by step as the page in the browser does."""

from pathlib import Path

import numpy as np

from .graphs import PART_NAMES
from .onnx_files import FOLDER


class OnnxStory:
    """A story that exported parts have read.

    Args:
        parts: of `load_parts`.
        pixel_values (`(1, T, 3, H, W)`): its frames, normalised, float32.
        captions: ids of the caption of each frame, empty for a missing one.
    """

    def __init__(self, parts: dict[str, object], pixel_values: np.ndarray, captions: list[list[int]]):
        self.parts, self.pixel_values = parts, pixel_values
        ids, mask = _padded(captions)
        (states,) = self._run("text_encoder", input_ids=ids, attention_mask=mask)
        names = [output.name for output in parts["story_encoder"].get_outputs()]
        inputs = {"pixel_values": pixel_values, "text_states": states, "attention_mask": mask}
        self.read = dict(zip(names, self._run("story_encoder", **inputs)))

    def paint(self, caption: list[int]) -> np.ndarray:
        """Paint the next frame `(1, 3, H, W)` in [0, 1] by the ids of its caption, which may be empty."""
        ids, mask = _padded([caption])
        (states,) = self._run("text_encoder", input_ids=ids, attention_mask=mask)
        inputs = {"pixel_values": self.pixel_values, **self.read, "next_states": states, "next_mask": mask}
        names = [value.name for value in self.parts["frame_decoder"].get_inputs()]
        return self._run("frame_decoder", **{name: inputs[name] for name in names})[0]

    def next_logits(self, context: list[int], caption: list[int]) -> np.ndarray:
        """Compute the logits `(1, V)` of the token behind `caption`, which begins with the start token.

        Args:
            context: ids of the last captions in a row, in those of the text decoder.
            caption: ids of the next caption so far.
        """
        ids = {"context_ids": np.array([context], np.int64), "caption_ids": np.array([caption], np.int64)}
        return self._run("text_decoder", **ids, story_state=self.read["story_state"])[0]

    def write(self, context: list[int], start: int, end: int, length: int) -> list[int]:
        """Write the ids of the next caption greedily.

        Args:
            context: as in `next_logits`.
            start, end: ids of the start and the end token; the start token is left out of what is returned.
            length: most tokens to write.
        """
        caption = [start]
        while len(caption) <= length and caption[1:][-1:] != [end]:
            caption.append(int(self.next_logits(context, caption).argmax()))
        return caption[1:]

    def _run(self, name: str, **inputs: np.ndarray) -> list[np.ndarray]:
        return self.parts[name].run(None, inputs)


def load_parts(folder: Path) -> dict[str, object]:
    """Return the parts of an export by name, each an `InferenceSession` on the CPU with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    settings = {"sess_options": options, "providers": ["CPUExecutionProvider"]}
    paths = {name: folder / FOLDER / f"{name}.onnx" for name in PART_NAMES}
    return {name: onnxruntime.InferenceSession(path, **settings) for name, path in paths.items()}


def _padded(captions: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and mask `(N, L)` of captions; what is padded is not read."""
    length = max(1, *map(len, captions))
    ids = np.array([caption + [0] * (length - len(caption)) for caption in captions], np.int64)
    mask = np.array([[1] * len(caption) + [0] * (length - len(caption)) for caption in captions], np.int64)
    return ids, mask
