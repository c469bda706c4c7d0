"""The peer's network: the same GPT as the host's, in PyTorch modules, with the same parameter names.

Pre-LayerNorm transformer with learned positions, exact GELU and a head that may share the token embedding.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass
class Sizes:
    vocab_size: int
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    block_size: int = 64
    bias: bool = False
    dropout: float = 0.0
    tie_head: bool = True


class Attention(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.n_head, self.dropout = sizes.n_head, sizes.dropout
        self.c_attn = nn.Linear(sizes.n_embd, 3 * sizes.n_embd, bias=sizes.bias)
        self.c_proj = nn.Linear(sizes.n_embd, sizes.n_embd, bias=sizes.bias)
        self.drop = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor) -> Tensor:
        b, t, width = x.shape
        heads = (part.view(b, t, self.n_head, -1).transpose(1, 2) for part in self.c_attn(x).chunk(3, dim=-1))
        dropped = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(*heads, dropout_p=dropped, is_causal=True)
        return self.drop(self.c_proj(mixed.transpose(1, 2).reshape(b, t, width)))


class Mlp(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.c_fc = nn.Linear(sizes.n_embd, 4 * sizes.n_embd, bias=sizes.bias)
        self.c_proj = nn.Linear(4 * sizes.n_embd, sizes.n_embd, bias=sizes.bias)
        self.drop = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.c_proj(functional.gelu(self.c_fc(x))))


class Block(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(sizes.n_embd, bias=sizes.bias)
        self.attn = Attention(sizes)
        self.ln_2 = nn.LayerNorm(sizes.n_embd, bias=sizes.bias)
        self.mlp = Mlp(sizes)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(sizes.vocab_size, sizes.n_embd),
                "wpe": nn.Embedding(sizes.block_size, sizes.n_embd),
                "h": nn.ModuleList(Block(sizes) for _ in range(sizes.n_layer)),
                "ln_f": nn.LayerNorm(sizes.n_embd, bias=sizes.bias),
            }
        )
        self.lm_head = nn.Linear(sizes.n_embd, sizes.vocab_size, bias=False)
        self.drop = nn.Dropout(sizes.dropout)
        if sizes.tie_head:
            self.lm_head.weight = self.transformer["wte"].weight
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:
                    residual = name.endswith("c_proj.weight")
                    parameter.normal_(0.0, 0.02 / math.sqrt(2 * sizes.n_layer) if residual else 0.02)
                elif name.endswith("bias"):
                    parameter.zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.drop(self.transformer["wte"](tokens) + self.transformer["wpe"](places))
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))

    def loss(self, tokens: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        return functional.cross_entropy(self(tokens).flatten(0, 1), targets.flatten(), reduction=reduction)
