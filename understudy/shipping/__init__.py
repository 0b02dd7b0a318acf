"""Shipping: predictions for files, the model card of a student, and uploads to the Hugging Face Hub."""

from understudy.shipping.card import write_card as write_card
from understudy.shipping.predict import Prediction as Prediction
from understudy.shipping.predict import predict as predict
