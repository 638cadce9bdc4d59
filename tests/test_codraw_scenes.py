"""CoDraw's scene strings and dialogues: read, refused, and merged into steps."""

import json

import pytest
from codraw_archive import BOY, GIRL, SUN, scene, write_dialogues
from storyattn.training.codraw import clip_art
from storyattn.training.codraw.clip_art import ClipArt
from storyattn.training.codraw.dialogues import Turn, clean_message, find_dialogues, merge_turns, read_dialogue
from storyattn.training.codraw.scene import parse_scene

TELLER, DRAWER = "<teller>", "<drawer>"


def canvas(*objects: tuple) -> list[ClipArt]:
    return parse_scene(scene(*objects), "here")


def turn(teller: str, drawer: str, *objects: tuple) -> Turn:
    return Turn({TELLER: teller, DRAWER: drawer}, canvas(*objects))


def test_there_are_126_pictures_of_58_classes():
    assert len(clip_art.all_pictures()) == 126 and clip_art.NUM_CLASSES == len(set(clip_art.CLASS_NAMES)) == 58
    first = [clip_art.class_of(group, 0) for group in clip_art.TYPES]
    assert first == [0, 8, 18, 19, 20, 26, 36, 43]
    last = [clip_art.class_of(group, clip_art.num_pictures(group) - 1) for group in clip_art.TYPES]
    assert last == [7, 17, 18, 19, 25, 35, 42, 57]


def test_a_scene_gives_what_is_on_the_canvas():
    text = "3,s_3s.png,0,3,0,469,31.5,2,1,hb1_13s.png,1,13,3,-10000,166.7,0,0,hb0_34s.png,2,34,2,-7,400,0,0"
    sun, boy = parse_scene(text, "here")
    assert sun == ClipArt("s", 3, 469.0, 31.5, 2, True) and (sun.name, sun.kind) == ("sun", "sky")
    assert (boy.class_id, boy.pose, boy.face, boy.x) == (18, 6, 4, -7.0) and sun.pose is None
    assert parse_scene(f"{text},", "here") == [sun, boy] and parse_scene("0,", "here") == []


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        (0, "x", "number of objects"),
        (0, "2", "number of fields: got 8"),
        (1, "s_8s.png", "file"),
        (1, "../s_3s.png", "file"),
        (2, "-1", "index"),
        (3, "4", "object index"),
        (4, "1", "type index"),
        (5, "left", "x"),
        (6, "nan", "y"),
        (7, "3", "depth"),
        (8, "yes", "flip"),
    ],
)
def test_a_scene_that_is_not_as_the_format_says_is_refused(field, value, named):
    fields = ["1", "s_3s.png", "0", "3", "0", "469", "31", "2", "0"]
    fields[field] = value
    with pytest.raises(ValueError, match=f"^here.*: {named}.*, expected ") as caught:
        parse_scene(",".join(fields), "here")
    assert ": got " in str(caught.value)


def test_turns_are_merged_until_the_canvas_shows_more():
    steps = merge_turns(
        [
            Turn({TELLER: "hi", DRAWER: "hello !"}, None),
            Turn({TELLER: "a sun", DRAWER: "where ?"}, None),
            turn("on the right", "ok", SUN),
            turn("bigger", "done", (*SUN[:3], 1, 0)),
            turn("a boy", "", SUN, BOY),
            turn("no boy", "", SUN),
            turn("a girl", "", SUN, GIRL),
            turn("good", "thanks", SUN, GIRL),
        ]
    )
    assert [[text for _, text in step.messages] for step in steps] == [
        ["a sun", "where ?", "on the right"],
        ["bigger", "a boy"],
        ["no boy", "a girl"],
    ]
    assert [len(step.canvas) for step in steps] == [1, 2, 2]


def test_a_canvas_without_words_waits_for_them():
    steps = merge_turns([turn("ok", "", SUN), turn("a boy too", "", SUN, BOY)])
    assert [(step.caption("teller"), len(step.canvas)) for step in steps] == [("a boy too", 2)]


def test_captions_are_the_tellers_or_both():
    (step,) = merge_turns([Turn({TELLER: "a sun", DRAWER: "where?"}, None), turn("right.", "okay .", SUN)])
    assert step.caption("teller") == "a sun. right."
    assert step.caption("dialogue") == "<teller> a sun <drawer> where? <teller> right."
    (step,) = merge_turns([turn("", "a sun?", SUN)])
    assert step.caption("teller") is None and step.caption("dialogue") == "<drawer> a sun?"


def test_messages_are_written_as_people_write():
    assert clean_message("It 's   a Boy , he do n't smile ( sad ) .") == "it's a boy, he don't smile (sad)."
    assert clean_message("1 . 5 inches . 2 boys") == "1.5 inches. 2 boys"
    assert clean_message("i`ll say ''hi '' to the girl 's cat") == "i'll say \"hi \" to the girl's cat"


def test_a_dialogue_is_read_with_its_changes(tmp_path):
    files = find_dialogues(write_dialogues(tmp_path / "output"))
    dialogues = {path.stem: read_dialogue(path) for path in files}
    assert {name: dialogue.split for name, dialogue in dialogues.items()} == {
        "test_00004": "test",
        "train_00001": "train",
        "train_00002": "train",
        "val_00003": "validation",
    }
    story = dialogues["train_00001"]
    assert story.turns[0].canvas is None and story.turns[1].canvas == canvas(SUN) and story.num_changes == 2
    assert story.turns[1].messages[TELLER] == "a big sun on the right."


def test_faults_of_a_dialogue_name_file_turn_and_field(tmp_path):
    folder = write_dialogues(tmp_path / "output")
    path = folder / "val_00003.json"
    whole = json.loads(path.read_text())
    faults = {
        "val_00003.json, turn 1: msg_d: got None, expected a string": {"msg_d": None},
        r"val_00003.json, turn 1, abs_d, object 0: depth: got '9', expected 0 or 1 or 2": {
            "abs_d": scene((*SUN[:3], 9, 0))
        },
    }
    for message, change in faults.items():
        turns = [whole["dialog"][0], {**whole["dialog"][1], **change}]
        path.write_text(json.dumps({**whole, "dialog": turns}))
        with pytest.raises(ValueError, match=message):
            read_dialogue(path)
    path.write_text(json.dumps({"dialog": 3}))
    with pytest.raises(ValueError, match="val_00003.json: dialog: got int, expected a list"):
        read_dialogue(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="val_00003.json: cannot be read as JSON"):
        read_dialogue(path)
    with pytest.raises(ValueError, match="source: got no dialogue in"):
        find_dialogues(tmp_path)
