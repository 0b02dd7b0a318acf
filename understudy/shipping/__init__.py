"""What leaves: answers about images on disk, the model card beside a student, and the way to the Hugging Face Hub."""

from understudy.shipping.card import write_card as write_card
from understudy.shipping.predict import Prediction as Prediction
from understudy.shipping.predict import predict as predict
