"""The default tables of the configuration, and where a published folder has its code."""

# Every loss part by the name it has in `loss_parts`, with its default weight. 0 switches a part off.
DEFAULT_LOSS_WEIGHTS = {
    "next_frame_l1": 1.0,
    "next_frame_mse": 1.0,
    "next_frame_perceptual": 0.1,
    "next_frame_edge": 0.1,
    "next_frame_changed": 1.0,
    "next_frame_relative": 0.25,
    "next_frame_painted": 1.0,
    "next_frame_moved": 0.5,
    "next_frame_lit": 1.0,
    "next_frame_objects": 0.0,
    "reconstruction_l1": 0.5,
    "reconstruction_mse": 0.5,
    "reconstruction_perceptual": 0.05,
    "reconstruction_edge": 0.05,
    "describe": 0.2,
    "next_caption": 0.2,
    "alignment": 0.1,
    "attention": 0.1,
}
# The further parts of a generative frame decoder, of the frames that it predicts from less than pure noise.
FLOW_LOSS_WEIGHTS = {
    "flow_mse": 1.0,
    "flow_painted": 1.0,
    "flow_moved": 0.5,
    "flow_l1": 0.1,
    "flow_perceptual": 0.1,
    "flow_edge": 0.1,
}
# The parts that no painted frame is needed for: where no other has a weight, training paints none.
LOSSES_WITHOUT_FRAMES = ("next_frame_objects", "describe", "next_caption", "alignment", "attention")
FRAME_DECODER_TYPES = ("regression", "flow")

DEFAULT_VISION_CONFIG = {
    "model_type": "convnext",
    "patch_size": 4,
    "num_stages": 3,
    "hidden_sizes": [48, 96, 160],
    "depths": [1, 1, 2],
    "layer_scale_init_value": 1.0,
    "out_features": ["stage1", "stage2", "stage3"],
}
DEFAULT_TEXT_CONFIG = {
    "model_type": "distilbert",
    "vocab_size": 4096,
    "dim": 128,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 384,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "max_position_embeddings": 256,
}
DEFAULT_DECODER_CONFIG = {
    "model_type": "llama",
    "vocab_size": 4096,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 384,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}

# Where the Auto classes and `pipeline` find the code in a published folder.
AUTO_MAP = {
    "AutoConfig": "configuration_storyattn.StoryAttnConfig",
    "AutoModel": "modeling_storyattn.StoryAttnModel",
    "AutoModelForMultimodalLM": "modeling_storyattn.StoryAttnForConditionalGeneration",
    "AutoModelForImageTextToText": "modeling_storyattn.StoryAttnForConditionalGeneration",
}
TASK = "story-continuation"  # the name of the pipeline
PIPELINE = "pipeline_storyattn.StoryContinuationPipeline"
CUSTOM_PIPELINES = {TASK: {"impl": PIPELINE, "pt": ["AutoModelForMultimodalLM"], "type": "multimodal"}}
