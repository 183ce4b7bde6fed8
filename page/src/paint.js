// One painter for the flame graph and the waterfall: boxes with a name in them, if there is room.

/** @typedef {{x: number, y: number, w: number, h: number, colour: string, text?: string, light?: boolean}} Box */

/** @param {CanvasRenderingContext2D} ctx @param {Box[]} list */
export function boxes(ctx, list) {
  ctx.font = "11.5px system-ui, sans-serif";
  ctx.textBaseline = "middle";
  for (const { x, y, w, h, colour, text, light } of list) {
    ctx.globalAlpha = light ? 0.32 : 1;
    ctx.fillStyle = colour;
    ctx.fillRect(x, y, Math.max(w, 1), h);
    if (!text || w < 34) continue;
    ctx.globalAlpha = 1;
    ctx.fillStyle = "#fff";
    const letters = Math.floor((w - 8) / 6.2);
    ctx.fillText(text.length > letters ? `${text.slice(0, Math.max(letters - 1, 1))}…` : text, x + 4, y + h / 2 + 0.5);
  }
  ctx.globalAlpha = 1;
}
