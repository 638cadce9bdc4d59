"""`import storyattn` imports little; the Auto classes know StoryAttn whichever package is imported first."""

import subprocess
import sys

import pytest
import storyattn

PROGRAMS = {
    "the package first": """
import storyattn
assert "torch" not in sys.modules and "transformers" not in sys.modules
assert {"StoryAttnModel", "build_processor"} <= set(dir(storyattn))
from transformers import AutoConfig
""",
    "a module of it first": """
from storyattn.configuration_storyattn import StoryAttnConfig
from transformers import AutoConfig
assert type(AutoConfig.for_model("storyattn")) is StoryAttnConfig
""",
    "transformers first": """
from transformers import AutoConfig
import storyattn
""",
}
CHECK = """
from transformers import CONFIG_MAPPING, MODEL_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY
from storyattn import StoryAttnConfig, StoryAttnModel
import storyattn
assert CONFIG_MAPPING["storyattn"] is StoryAttnConfig and MODEL_MAPPING[StoryAttnConfig] is StoryAttnModel
assert "story-continuation" in PIPELINE_REGISTRY.get_supported_tasks()
assert storyattn.modeling_storyattn.StoryAttnModel is StoryAttnModel
"""


@pytest.mark.parametrize("order", PROGRAMS)
def test_auto_classes_know_the_model(order):
    program = f"import sys\n{PROGRAMS[order]}\n{CHECK}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_public_name_can_be_imported():
    assert all(getattr(storyattn, name) is not None for name in storyattn.__all__)
    assert set(storyattn.__all__) <= set(dir(storyattn))
    with pytest.raises(AttributeError, match="has no attribute 'StoryAttnModle'"):
        _ = storyattn.StoryAttnModle
