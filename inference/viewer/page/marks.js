// Points and a box that the user marks for the next run, in voxels (i, j, k) of the page's grid.

const INSIDE = 2, OUTSIDE = 1, BOX = 4; // of NiiVue's colours for drawings: green, red, yellow
const AXES = [[0, 1], [0, 2], [1, 2]]; // of an axial, coronal, sagittal slice

export class Marks {
  constructor(nv, shape, spacing, onChange) {
    this.nv = nv;
    this.size = [...shape].reverse();
    this.spacing = [...spacing].reverse();
    this.onChange = onChange;
    this.points = [];
    this.box = null;
  }

  addPoint(voxel, inside) {
    this.points.push({ voxel: this.inVolume(voxel), inside });
    this.changed();
  }

  // The first drag gives two sides and, as its depth, their mean; one in another plane corrects the depth.
  drag(start, stop, plane) {
    const axes = AXES[plane];
    if (!axes) return;
    const [a, b] = [this.inVolume(start), this.inVolume(stop)];
    const low = a.map((v, axis) => Math.min(v, b[axis]));
    const high = a.map((v, axis) => Math.max(v, b[axis]) + 1);
    if (!this.box) {
      const third = [0, 1, 2].find((axis) => !axes.includes(axis));
      const mm = axes.reduce((sum, axis) => sum + (high[axis] - low[axis]) * this.spacing[axis], 0) / 2;
      const half = Math.max(0, Math.round(mm / this.spacing[third] / 2 - 0.5));
      low[third] = Math.max(0, a[third] - half);
      high[third] = Math.min(this.size[third], a[third] + half + 1);
      this.box = { low, high };
    } else {
      for (const axis of axes) {
        this.box.low[axis] = low[axis];
        this.box.high[axis] = high[axis];
      }
    }
    this.changed();
  }

  clear() {
    this.points = [];
    this.box = null;
    this.changed();
  }

  get any() {
    return this.points.length > 0 || this.box !== null;
  }

  // As the server wants it: axes (D, H, W) are (k, j, i).
  wanted() {
    const wanted = {};
    if (this.points.length) {
      wanted.points = this.points.map((p) => [...[...p.voxel].reverse(), p.inside ? 1 : 0]);
    }
    if (this.box) wanted.boxes = [[...[...this.box.low].reverse(), ...[...this.box.high].reverse()]];
    return wanted;
  }

  told() {
    const parts = [];
    for (const [inside, word] of [[true, "inside"], [false, "outside"]]) {
      const count = this.points.filter((p) => p.inside === inside).length;
      if (count) parts.push(`${count} point${count > 1 ? "s" : ""} ${word}`);
    }
    if (this.box) {
      const sides = [0, 1, 2].map((axis) =>
        ((this.box.high[axis] - this.box.low[axis]) * this.spacing[axis]).toFixed(0));
      parts.push(`a box of ${sides.join(" x ")} mm; drag in another plane to correct its depth`);
    }
    return parts.join(", ");
  }

  inVolume(voxel) {
    return Array.from(voxel, (v, axis) => Math.min(this.size[axis] - 1, Math.max(0, Math.round(v))));
  }

  changed() {
    this.draw();
    this.onChange();
  }

  draw() {
    const nv = this.nv;
    if (!this.any && !nv.drawBitmap) return;
    if (!nv.drawBitmap) nv.createEmptyDrawing();
    nv.drawBitmap.fill(0);
    if (this.box) this.faces(this.box.low, this.box.high.map((v) => v - 1));
    for (const point of this.points) this.ball(point.voxel, point.inside ? INSIDE : OUTSIDE);
    nv.refreshDrawing(true);
  }

  put(voxel, value) {
    const [i, j, k] = voxel;
    if (voxel.some((v, axis) => v < 0 || v >= this.size[axis])) return;
    this.nv.drawBitmap[i + this.size[0] * (j + this.size[1] * k)] = value;
  }

  // Its faces: each slice through the box then shows an outline. One slice alone is no face of it.
  faces(low, high) {
    const ends = [0, 1, 2].filter((axis) => high[axis] > low[axis]);
    for (let k = low[2]; k <= high[2]; k++)
      for (let j = low[1]; j <= high[1]; j++)
        for (let i = low[0]; i <= high[0]; i++) {
          const voxel = [i, j, k];
          if (ends.some((axis) => voxel[axis] === low[axis] || voxel[axis] === high[axis])) this.put(voxel, BOX);
        }
  }

  ball(centre, value) {
    const mm = 2.5 * Math.min(...this.spacing);
    const reach = this.spacing.map((side) => Math.floor(mm / side));
    for (let k = -reach[2]; k <= reach[2]; k++)
      for (let j = -reach[1]; j <= reach[1]; j++)
        for (let i = -reach[0]; i <= reach[0]; i++) {
          const away = Math.hypot(i * this.spacing[0], j * this.spacing[1], k * this.spacing[2]);
          if (away <= mm) this.put([centre[0] + i, centre[1] + j, centre[2] + k], value);
        }
  }
}
