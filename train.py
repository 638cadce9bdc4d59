"""
Trains a StoryAttn model; `python train.py --help` lists the flags.

    accelerate launch train.py configuration/recipes/storyworld_tiny.yaml --output_dir runs/tiny
"""

from storyattn.training.cli.train import main

if __name__ == "__main__":
    main()
