"""Work queues that never hand one item to two workers, and never lose one (client-go util/workqueue)."""

from bobrapet.runtime.workqueue.default_rate_limiters import (
    BucketRateLimiter,
    ItemExponentialFailureRateLimiter,
    ItemFastSlowRateLimiter,
    MaxOfRateLimiter,
    RateLimiter,
    WithMaxWaitRateLimiter,
    default_controller_rate_limiter,
)
from bobrapet.runtime.workqueue.delaying_queue import DelayingQueue
from bobrapet.runtime.workqueue.metrics import Histogram, QueueMetrics
from bobrapet.runtime.workqueue.queue import Queue
from bobrapet.runtime.workqueue.rate_limiting_queue import RateLimitingQueue

__all__ = [
    "BucketRateLimiter",
    "DelayingQueue",
    "Histogram",
    "ItemExponentialFailureRateLimiter",
    "ItemFastSlowRateLimiter",
    "MaxOfRateLimiter",
    "Queue",
    "QueueMetrics",
    "RateLimiter",
    "RateLimitingQueue",
    "WithMaxWaitRateLimiter",
    "default_controller_rate_limiter",
]
