from .backbones import Backbone as Backbone
from .backbones import create_backbone as create_backbone
from .cost import cost_row as cost_row
from .cost import count as count
from .weights import Pretrained as Pretrained
from .weights import load_tensors as load_tensors
from .weights import read_tensors as read_tensors
