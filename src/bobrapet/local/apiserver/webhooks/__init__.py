"""Webhooks: other servers that change objects before they are stored, or refuse them.

`configurations` knows which webhooks there are, `matching` whether one is asked about a request, `review` what is asked
and what an answer means, `caller` how it is sent; `admission` puts them together, for changes and for verdicts.
"""

from bobrapet.local.apiserver.webhooks.admission import Webhooks

__all__ = ["Webhooks"]
