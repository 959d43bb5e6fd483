"""The nano student's tokenizer: whole words, single digits, bytes for everything else."""

from __future__ import annotations

import random
import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# A word or a digit carries the space before it, so that prompt and rationale can be tokenised
# apart and joined; numbers are split into digits.
PIECE = r" ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]|\s"
PAD, EOS = "<pad>", "<eos>"
# Words that the suites' generators may need beyond those of the shipped student's own texts.
EXTRA = """yes no Yes No true false A B C D E Answer choices Is Does Do Who Whose Which What
(A) , the a an and or in than old older younger oldest youngest higher lower highest lowest larger
smaller number less most least both same not"""


def words() -> list[str]:
    """Every piece of every generator's text, sorted: the vocabulary doesn't depend on a sample."""
    from compact_bench.data import mini_facts, mini_problems, mini_styles

    texts = ["Question: How", "Answer: The answer is", *mini_styles.FILLER, *mini_problems.NAMES,
             *mini_problems.NOUNS, *mini_styles.WORD.values(), "0 1 2 3 4 5 6 7 8 9"]  # fmt: skip
    texts += [fact.question for fact in mini_facts.facts()]
    texts += [wording.format(name="", x=0, y=0)
              for wordings in mini_problems.WORDING.values() for wording in wordings]  # fmt: skip
    texts += [wording.format(a=0, b=0, v=0) for wording in mini_styles.HUMAN.values()]
    for style in mini_styles.STYLES.values():
        rng = random.Random(style.__name__)
        for problem in islice(mini_problems.problems(rng, (1, 2, 3), "pretraining"), 50):
            values = mini_problems.evaluate(problem.steps)
            texts += [problem.question,
                      style(problem, mini_styles.lines(problem.steps, values, values))]  # fmt: skip
    texts.append(EXTRA)
    bare = {piece.strip() for text in texts for piece in re.findall(PIECE, text)}
    return sorted(form for word in bare if word for form in (word, " " + word))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges: a known piece is one token, any other is its bytes.

    decode(encode(x)) == x for every text, since every byte has a token.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocabulary = {token: i for i, token in enumerate([PAD, EOS])}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    coded = [to_bytes.pre_tokenize_str(word)[0][0] for word in words()]
    for token in [*alphabet, *coded]:
        vocabulary.setdefault(token, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PIECE), behavior="isolated"), to_bytes]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS,
                                   clean_up_tokenization_spaces=False, padding_side="right",
                                   model_max_length=512)  # fmt: skip
