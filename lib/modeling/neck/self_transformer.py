"""Self-transformer (ST): interaction of the positions of one level."""

from __future__ import annotations

from fpt.modeling.neck.query_attention import QueryAttention


class SelfTransformer(QueryAttention):
    """ST of "Feature Pyramid Transformer", section 3.2: q, k and v from one map, dot product (N = 2 in the paper)."""

    similarity = "dot"
