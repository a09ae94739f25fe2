"""The labeler: a gRPC server that holds CLIP and scores images against a vocabulary of class names."""
