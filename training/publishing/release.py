"""What of a folder goes to the Hub, as it is sent: with a card for its repository and without paths of this machine."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from tqdm.auto import tqdm

from ..common.files import write_text
from .eval_results import eval_result_files, has_benchmark
from .local_paths import shorten_local_paths
from .model_card import make_card, read_results
from .release_files import CARD, EVAL_RESULTS, RESULTS, left_out_line, published_files


class Release:
    """A folder to publish.

    Args:
        folder: published folder with its card.
        repo_id: `user/name` of the repository.
        changes: facts of the card to change, as in `write_card`.

    Raises:
        ValueError: for changes to a card that somebody has edited.
    """

    def __init__(self, folder: Path, repo_id: str, changes: dict):
        self.folder, self.repo_id, self.changes = folder, repo_id, changes
        if changes and not self.has_own_card:
            raise ValueError(f"{next(iter(changes))}: got one for a {CARD} that was edited, expected it written there")

    @cached_property
    def has_own_card(self) -> bool:
        """Whether the card is as `write_card` writes it; where somebody has edited it, it is sent as it is."""
        if not (self.folder / CARD).is_file() or not (self.folder / RESULTS).is_file():
            return False
        if "facts" not in read_results(self.folder):
            return False
        return (self.folder / CARD).read_text(encoding="utf-8") == str(make_card(self.folder))

    def files(self, scratch: Path, pin: str | None = None) -> dict[str, Path]:
        """Return the path on this machine of each file that is sent, by its path in the repository.

        Args:
            scratch: folder for copies that differ from the files of the folder.
            pin: commit that the quick start loads; default: the newest.

        Raises:
            ValueError: as `published_files` and `shorten_local_paths`.
        """
        files, _ = published_files(self.folder)
        scratch.mkdir(parents=True, exist_ok=True)
        if self.has_own_card:
            files = {name: path for name, path in files.items() if not name.startswith(f"{EVAL_RESULTS}/")}
            files |= self._eval_results(scratch)
            files[CARD] = scratch / CARD
            make_card(self.folder, self.repo_id, pin, self.changes).save(files[CARD])
        self.short_paths = shorten_local_paths(files, scratch)
        return dict(sorted(files.items()))

    def describe(self, files: dict[str, Path]) -> str:
        """Return a list of what is sent, with sizes, and lines of what is not or is changed."""
        sizes = {name: path.stat().st_size for name, path in files.items()}
        width = max(map(len, sizes))
        lines = [f"  {name:{width}}  {tqdm.format_sizeof(size, 'B'):>7}" for name, size in sizes.items()]
        lines.append(f"{len(files)} files, {tqdm.format_sizeof(sum(sizes.values()), 'B')}")
        if self.short_paths:
            lines.insert(0, f"local paths are sent as their last part: {', '.join(sorted(self.short_paths))}")
        if left_out := published_files(self.folder)[1]:
            lines.append(f"left out: {left_out_line(left_out)}")
        if self.has_own_card and not has_benchmark(self._facts):
            lines.append(f"left out: {EVAL_RESULTS}, for the data set is not on the Hub; --benchmark names it there")
        return "\n".join(lines)

    @property
    def _facts(self) -> dict:
        return {**read_results(self.folder)["facts"], **self.changes}

    def _eval_results(self, scratch: Path) -> dict[str, Path]:
        """Write the evaluation results with this repository as their source; none whose data set is not on the Hub."""
        if not has_benchmark(self._facts):
            return {}
        files = eval_result_files(read_results(self.folder), self._facts, self.repo_id)
        for name, text in files.items():
            write_text(text, scratch / name)
        return {name: scratch / name for name in files}
