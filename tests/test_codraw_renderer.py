"""Canvases of CoDraw as frames: where clip art lies, what covers what, and what can be seen."""

import numpy as np
import pytest
from codraw_archive import GRASS, SKY, color, draw_pictures
from PIL import Image
from storyattn.training.codraw.clip_art import ClipArt
from storyattn.training.codraw.renderer import CanvasRenderer


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp("codraw") / "Pngs")


@pytest.fixture(scope="module")
def renderer(pictures):
    return CanvasRenderer(pictures)


def placed(group: str, number: int = 0, x: float = 250, y: float = 200, depth: int = 0, flip: bool = False) -> ClipArt:
    return ClipArt(group, number, x, y, depth, flip)


def test_an_empty_canvas_is_the_background(renderer):
    frame = renderer.draw([])
    assert frame.shape == (96, 120, 3) and frame.dtype == np.uint8
    assert np.abs(frame[:47].astype(int) - SKY).max() <= 1 and np.abs(frame[49:].astype(int) - GRASS).max() <= 1


@pytest.mark.parametrize(("depth", "scale"), [(0, 1.0), (1, 0.7), (2, 0.49)])
def test_a_picture_lies_around_its_center_at_the_size_of_its_depth(renderer, depth, scale):
    clip_art = placed("p", x=300, y=220, depth=depth)  # 160 x 120 pixels of the canvas
    (sighting,) = renderer.look([clip_art])
    x1, y1, x2, y2 = sighting.box
    assert abs((x1 + x2) / 2 - 300 * 0.24) <= 0.5 and abs((y1 + y2) / 2 - 220 * 0.24) <= 0.5
    assert -0.5 <= x2 - x1 - 160 * 0.24 * scale < 2 and -0.5 <= y2 - y1 - 120 * 0.24 * scale < 2  # of whole pixels
    changed = (renderer.draw([clip_art]) != renderer.draw([])).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == sighting.box
    assert sighting.share == pytest.approx(1.0)


def test_flip_mirrors_a_picture(renderer):
    """The left third of the drawn pictures is dark."""
    for flip in (False, True):
        frame = renderer.draw([placed("p", flip=flip)]).astype(int)
        left, right = frame[48, 60 - 16], frame[48, 60 + 16]
        dark, light = (right, left) if flip else (left, right)
        assert np.abs(dark - 30).max() <= 2 and np.abs(light - color("p", 0)).max() <= 2


@pytest.mark.parametrize(
    ("above", "below"),
    [
        (placed("p", depth=2), placed("s", depth=0)),  # the sky lies behind everything
        (placed("p", depth=0), placed("t", depth=1)),  # what is near covers what is far
        (placed("hb1", depth=1), placed("hb0", depth=1)),  # and at one depth the type decides
        (placed("t"), placed("hb1")),
    ],
)
def test_what_covers_what(renderer, above, below):
    alone = renderer.draw([above])[46:50, 60:64]
    for objects in ([above, below], [below, above]):
        assert (renderer.draw(objects)[46:50, 60:64] == alone).all()
    assert (renderer.draw([below])[46:50, 60:64] != alone).any()


def test_what_is_outside_or_covered_is_not_visible(renderer):
    half = placed("e", x=500)
    outside = placed("t", x=-100)
    covered = placed("t", 3, x=100, depth=2)
    cover = placed("p", x=100)
    seen = renderer.look([half, outside, covered, cover])
    assert [sighting.clip_art for sighting in seen] == [half, outside, covered, cover]
    assert [round(sighting.share, 1) for sighting in seen] == [0.5, 0.0, 0.0, 1.0]
    assert [sighting.is_visible for sighting in seen] == [True, False, False, True]
    assert seen[0].box[2] == 120 and seen[1].box == []


def test_half_transparent_pixels_mix_with_what_lies_behind(pictures, tmp_path):
    folder = tmp_path / "Pngs"
    folder.mkdir()
    Image.new("RGBA", (500, 400), (200, 0, 0, 255)).save(folder / "background.png")
    Image.new("RGBA", (100, 100), (0, 0, 200, 128)).save(folder / "t_0s.png")
    center = CanvasRenderer(folder).draw([placed("t")])[48, 60].astype(int)
    assert np.abs(center - (100, 0, 100)).max() <= 2


def test_thin_parts_stay_visible(tmp_path):
    """A line of two pixels of the canvas, at the far depth: a quarter of a pixel of the frame."""
    Image.new("RGBA", (500, 400), (255, 255, 255, 255)).save(tmp_path / "background.png")
    picture = Image.new("RGBA", (40, 100), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (19, 0, 21, 100))
    picture.save(tmp_path / "t_0s.png")
    renderer = CanvasRenderer(tmp_path)
    for x in np.arange(240, 250, 0.5):
        missing = 255 - renderer.draw([placed("t", x=float(x), depth=2)]).astype(float)[44:52, 50:70, 0]
        assert (missing.sum(axis=1) / 255).round(2) == pytest.approx(2 * 0.49 * 0.24, abs=0.08)


def test_a_frame_of_another_size_shows_the_same(renderer, pictures):
    objects = [placed("p", x=100), placed("s", 3, 400, 60), placed("hb0", 12, 300, 250, 1, True)]
    large = CanvasRenderer(pictures, (192, 240)).draw(objects)
    reduced = large.reshape(96, 2, 120, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced - renderer.draw(objects)).mean() < 2


def test_what_cannot_be_drawn_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="image_size: got .*8.*, expected height and width of at least 16"):
        CanvasRenderer(pictures, (8, 120))
    with pytest.raises(ValueError, match="source: got no picture background.png"):
        CanvasRenderer(tmp_path)
    Image.new("RGBA", (500, 400)).save(tmp_path / "background.png")
    (tmp_path / "t_0s.png").write_text("<html>")
    with pytest.raises(ValueError, match="source: .*t_0s.png cannot be read"):
        CanvasRenderer(tmp_path).draw([placed("t")])
