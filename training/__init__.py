"""Everything around the model: data, training, evaluation, figures, publishing and the command line."""
