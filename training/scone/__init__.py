"""SCONE (Long, Pasupat and Liang 2016) as picture stories: its states, drawn, and read back from pictures.

>>> from storyattn.training.scone import draw_state, parse_state, read_state
>>> picture = draw_state(parse_state("tangrams", "1:C 2:A"))
>>> str(read_state(picture, "tangrams").state)
'1:C 2:A'
"""

from .pictures import draw_state
from .reader import Reading, read_state, state_reader
from .states import DOMAINS, State, fault_of, parse_state

__all__ = ["DOMAINS", "Reading", "State", "draw_state", "fault_of", "parse_state", "read_state", "state_reader"]
