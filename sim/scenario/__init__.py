"""What the user writes: frozen, strict, validated, with a JSON Schema."""
