from .network import QualityNet as QualityNet
