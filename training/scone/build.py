"""
Build a data set of SCONE's stories: read or download the sequences, draw every state, write a folder.

The folder then reads as any other: `storyattn train --dataset FOLDER`. What is left out, and why, is printed.
"""

from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path

from ..common.dataset_folder import check_output
from ..common.defaults import CACHES, SCONE_SIZE
from ..common.downloads import download
from .dataset_folder import FILES, MARK, write_stories
from .late_instructions import runs_behind
from .pictures import check_image_size
from .sequences import SPLITS, Sequence, file_name, open_source, parse_sequences
from .states import domain_named
from .variants import variants

COMMIT = "333cb2df91aa34ee527abc185198da3292406fe4"
ARCHIVE = f"https://codeload.github.com/lil-lab/scone/zip/{COMMIT}"
SHA256 = {  # of the files of that commit
    "scene/train_sequences.json": "6c4aa6761518581dc3e9958949cba1a1e5281a9104e0664d30150381509433f2",
    "scene/dev_sequences.json": "e34f478b8d886178582a24082ac72f1b33b599080a4ee9628dcfa746000a1af4",
    "scene/test_sequences.json": "2ed7e79cb862fdfa17a198d809c0170e3b1995a6ca3f46df7329d257be36a3c6",
    "alchemy/train_sequences.json": "dabf923a1c5390e2a0e5ea5a869cd687bad0ccb10a0e4bd12739c3c47a678976",
    "alchemy/dev_sequences.json": "a711d8c8e3f6654ced775d8e91815d665ac414ae25c34a4ebedc853ec0a8d4f6",
    "alchemy/test_sequences.json": "376d894b925316248c4dc164be56489830cacfb4c4483b0f62ac4731b488d693",
    "tangrams/train_sequences.json": "aba4f0b94b8bb4713d28d98bdca62be28b4cab6de21019c28dd4015dca27a680",
    "tangrams/dev_sequences.json": "93da0b5489285a9621b480f5377f818cd64dd8e3d01600c7a0a5c5c1ec1e08f1",
    "tangrams/test_sequences.json": "257066240b9e03081ee06c5b0dfaa084c46bdf48b577e6d478c18e173005a9b3",
}


@dataclass(frozen=True)
class BuildOptions:
    """
    What to build: the stories of `domains` (see `DOMAINS`), drawn at `image_size` (height, width), into `output`.

    `source` is SCONE's repository or its folder `data`, as a folder or a ZIP archive; without it the archive of
    `COMMIT` is downloaded to `download_dir` (default `CACHES["scone"]`). `num_variants` variants of each training story
    are written beside it, see `variants`. `overwrite` replaces an earlier result.
    """

    domains: tuple[str, ...]
    output: Path
    source: Path | None = None
    download_dir: Path | None = None
    image_size: tuple[int, int] = SCONE_SIZE
    num_variants: int = 0
    overwrite: bool = False


def build_stories(options: BuildOptions) -> None:
    """
    Build the data set and print what was kept and what was left out.

    Raises `ValueError` for a mistake in the options or the files, `OSError` where the download fails.
    """
    for domain in options.domains:
        domain_named(domain)
    if options.num_variants < 0:
        raise ValueError(f"num_variants: got {options.num_variants}, expected at least 0")
    size = check_image_size(options.image_size)
    if options.source is not None and options.download_dir is not None:
        raise ValueError("download_dir: got --download_dir with --source, expected one of them")
    output = options.output.expanduser()
    check_output(output, options.overwrite, MARK, FILES)
    splits = read_splits(options)
    left_out = [sequence.name for sequence in splits["train"] if runs_behind(sequence)]
    splits["train"] = [sequence for sequence in splits["train"] if sequence.name not in left_out]
    print("\n".join(_summary(splits, left_out)))
    more = [variant for sequence in splits["train"] for variant in variants(sequence, options.num_variants)]
    splits["train"] += more
    write_stories(
        output,
        splits,
        size,
        {"left_out": len(left_out), "variants": len(more)},
        COMMIT,
        options.overwrite,
    )
    print(f"written to {output}")


def read_splits(options: BuildOptions) -> dict[str, list[Sequence]]:
    """
    Return the sequences of each split, one domain after the other.

    Raises `ValueError` for a file of another form, and for one of the downloaded archive that is not the published one;
    prints where one of `source` is not.
    """
    archive = None
    if options.source is None:
        archive = download_archive((options.download_dir or Path(CACHES["scone"])).expanduser())
    read = open_source(archive or options.source.expanduser())
    splits = {split: [] for split in SPLITS}
    for split, domain in product(SPLITS, dict.fromkeys(options.domains)):
        name = file_name(domain, split)
        content = read(name)
        if sha256(content).hexdigest() != SHA256[name]:
            if archive is not None:
                raise ValueError(f"{archive}: got another {name} than the published one; remove the archive to retry")
            print(f"note: {name} is not the file of the commit {COMMIT}")
        splits[split] += parse_sequences(content, name, domain)
    return splits


def download_archive(folder: Path) -> Path:
    """Return the archive of `COMMIT` in `folder`, downloaded where it is not there."""
    archive = folder / f"scone-{COMMIT[:12]}.zip"
    if not archive.is_file():
        download(ARCHIVE, archive)
    return archive


def _summary(splits: dict[str, list[Sequence]], left_out: list[str]) -> list[str]:
    """A line for each split; stories whose instructions run behind are left out of train alone."""
    lines = [f"{split}: {len(sequences):,} stories" for split, sequences in splits.items()]
    if left_out:
        listed = ", ".join(left_out)
        lines.append(f"left out of train: {len(left_out)} stories whose instructions run one step behind: {listed}")
    for split in ("validation", "test"):
        count = sum(map(runs_behind, splits[split]))
        if count:
            lines.append(f"kept in {split}: {count} such stories, so that results compare with others'")
    return lines
