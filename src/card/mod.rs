//! Model card, quantization_metadata.json and MODEL_LOG.md. Pure: data to text.
