"""A trained model as ONNX files, and a page that runs them in a browser."""
