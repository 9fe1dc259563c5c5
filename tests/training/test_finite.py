"""Which term is named; that nothing spoilt is saved is shown in test_trainer."""

import pytest
import torch

from fewmask.errors import FewmaskError
from fewmask.training.finite import refuse_infinite
from fewmask.types import Update


@pytest.mark.parametrize(("bad", "told"), [(float("nan"), "nan"), (float("inf"), "inf"), (float("-inf"), "-inf")])
def test_the_first_bad_term_is_named(bad, told):
    good = Update({"a": torch.tensor(1.0)})
    later = Update({"a": torch.tensor(bad), "b": torch.tensor(bad)})
    with pytest.raises(FewmaskError, match=f"step 7: loss term 'a' is {told}; lower"):
        refuse_infinite([good, later], 7)
    refuse_infinite([good, good], 7)


def test_a_step_without_an_update_is_finite():
    refuse_infinite([], 0)
