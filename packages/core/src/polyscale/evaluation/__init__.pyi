from .shard import eval_mode as eval_mode
from .shard import gather_rows as gather_rows
from .shard import most_batches as most_batches
from .shard import shard_batches as shard_batches
