"""``/health``, for whoever watches over the app: whether it answers, and how much is kept and waiting."""

from __future__ import annotations

import time

import gradio as gr
from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.routing import Route

import fmcore
from demo.batch.batch import BATCHES
from demo.common.own import MODELS
from demo.inspect.scoring import RESULTS

STARTED = time.monotonic()


def add_health(server: FastAPI, app: gr.Blocks) -> None:
    """Answer at ``/health``, before gradio's own addresses, which take any other."""

    async def health(request):
        kept = {"results": RESULTS.size, "models": MODELS.size, "batches": BATCHES.size}
        return JSONResponse(
            {
                "status": "ok",
                "version": fmcore.__version__,
                "seconds": round(time.monotonic() - STARTED),
                "waiting": len(app._queue),
                "bytes_kept": kept,
            }
        )

    server.router.routes.insert(0, Route("/health", health, methods=["GET"]))
