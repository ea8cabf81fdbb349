// One picture that can be painted on: layers over a scene, boxes, clicks, brush strokes, and keys. The Python side is
// `Canvas` in akv/ui/canvas.py; the two share the traits that stand there (`model.get`, `model.set`).
// `render` runs once for each place where the widget is shown. It puts two canvases on top of each other, one with the
// picture and its layers, one with what is being drawn, and then only reacts: to changes made in Python, to the
// pointer, to keys.
// In this order: picture, tools and what is drawn, pointer (mouse, pen, finger), keys, changes made in Python.

const LAYERS = ['image', 'heat', 'mask', 'outline'];                 // from the lowest to the highest
const INK = {product: '#ffffff', not: '#ffb000', brush: '#ff40ff', erase: '#40c4ff'};
const DOT = {product: '#40a0ff', not: '#ffb000'};                     // of clicks
const PRODUCES = {box: 'product', not_box: 'not', click: 'product', brush: 'brush', erase: 'erase'};   // tool -> shape
const LEAST = 3;                                                      // CSS pixels; a smaller box was a slip

const part = (name, kind, parent) => {
  const element = document.createElement(kind);
  element.className = name;
  parent.append(element);
  return element;
};
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const round = value => Math.round(value * 100) / 100;

// Keys typed here are text, or move a native control
const typing = element => element.isContentEditable
  || element.matches?.('textarea, select, input:not([type=checkbox]):not([type=button]):not([type=submit])');
const sliding = (element, key) => element.matches?.('[role=slider]') && /^(Arrow|Page|Home|End)/.test(key);
const pressable = element => element.closest?.('button, a, summary, input[type=checkbox], [role=button]');

let adding = false;                         // a shape, in one of the places where the widget is shown

function render({ model, el }) {
  const host = part('akv-canvas', 'div', el);
  host.tabIndex = 0;
  const frame = part('akv-canvas-frame', 'div', host);
  const picture = part('akv-canvas-picture', 'canvas', frame);
  const drawing = part('akv-canvas-drawing', 'canvas', frame);
  const caption = part('akv-canvas-caption', 'div', host);
  let kept = {}, gone = false;              // {layer: {data, bitmap}} as painted; whether the view was removed

  const zone = () => { const area = model.get('key_area'); return (area && host.closest(area)) || host; };


  // ---- the picture
  // Layers that arrive together are decoded first and then painted in one go, so that no mask is ever seen on another
  // scene's picture. If steps come faster than pictures can be decoded, the ones in between are left out. Once it has
  // painted, the browser says so, with the name that Python has given to what is painted.
  const size = () => {
    const [width, height] = model.get('size'), own = kept.image?.bitmap;
    return width && height ? [width, height] : own ? [own.width, own.height] : [4, 3];
  };
  const fit = canvas => {                   // as many pixels as the screen has where the canvas is shown
    const box = canvas.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(box.width * scale)), height = Math.max(1, Math.round(box.height * scale));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const context = canvas.getContext('2d');
    context.clearRect(0, 0, width, height);
    return context;
  };
  const lay_out = () => {
    const [width, height] = size();
    frame.style.width = model.get('width') + 'px';
    frame.style.aspectRatio = `${width} / ${height}`;
  };
  const paint = () => {
    lay_out();
    const context = fit(picture);
    context.imageSmoothingQuality = 'high';
    for (const name of LAYERS) {
      const bitmap = kept[name]?.bitmap;
      if (!bitmap) continue;
      context.globalAlpha = name === 'image' ? 1 : clamp(model.get(name + '_opacity'), 0, 1);
      context.drawImage(bitmap, 0, 0, picture.width, picture.height);
    }
    draw();
  };

  let loading = false, stale = false;
  let shown = model.get('picture'), told = null;        // the token of what is painted; the last that Python heard
  let answered = model.get('drawn');                    // as it was when this was painted
  const load = async () => {                // decode what is new, then show all of it at once
    stale = true;
    if (loading) return;
    loading = true;
    while (stale && !gone) {
      stale = false;
      const text = model.get('caption'), token = model.get('picture'), drawn = model.get('drawn'), next = {};
      let trouble = '';
      await Promise.all(LAYERS.map(async name => {
        const data = model.get(name);
        if (kept[name]?.data === data) { next[name] = kept[name]; return; }
        let bitmap = null;
        if (data?.byteLength) {
          try { bitmap = await createImageBitmap(new Blob([data])); }
          catch { trouble = `The ${name} cannot be shown: it is no JPEG or PNG.`; }
        }
        next[name] = { data, bitmap };
      }));
      if (gone) break;
      for (const name of LAYERS) if (kept[name]?.bitmap !== next[name].bitmap) kept[name]?.bitmap?.close();
      if (kept.mask?.data !== next.mask.data || answered !== drawn) fresh = [];   // they are in the mask now
      if (token !== shown) stroke = null;                                        // it was begun on another picture
      kept = next;
      answered = drawn;
      shown = token;
      caption.textContent = trouble || text;
      caption.hidden = !caption.textContent;
      paint();
      asked = 0;
      if (!trouble && token !== told) model.send({ seen: told = token });
      host.dataset.painted = 1 + Number(host.dataset.painted || 0);   // for tests that wait for a picture
    }
    loading = false;
  };


  // ---- the tool
  // It is what Python says, but a button of class akv-tool-brush counts at once, before Python has heard of it.
  let chosen = null;
  const tool = () => chosen ?? model.get('tool');
  const on_choice = event => {
    const name = event.target.closest?.('[class*=akv-tool-]')?.className.match(/akv-tool-(\w+)/)?.[1];
    if (!PRODUCES[name] || !zone().contains(event.target)) return;
    chosen = name;
    describe();
    draw();
  };
  window.addEventListener('click', on_choice, true);

  // ---- what is drawn
  // A stroke is seen at once, long before the mask that Python makes of it, and stays until Python has answered: with
  // another mask, or with `drawn` raised where the stroke has changed nothing. `stroke` is under way; `fresh` strokes
  // are finished, but not in the mask yet.
  let stroke = null, fresh = [], pointer = null;
  const line = (context, path, colour, width, dash = []) => {     // a coloured line on a wider black one
    context.setLineDash(dash);
    for (const [style, extra] of [['#000000', 2], [colour, 0]]) {
      context.strokeStyle = style;
      context.lineWidth = (width + extra) * (window.devicePixelRatio || 1);
      context.stroke(path);
    }
  };
  const draw_click = (context, shape, scale) => {   // a disc with a plus, a square with a minus: colour is not needed
    const unit = window.devicePixelRatio || 1, size = 7 * unit, x = shape.x * scale, y = shape.y * scale;
    const dot = new Path2D(), sign = new Path2D();
    if (shape.kind === 'product') dot.arc(x, y, size, 0, 2 * Math.PI);
    else dot.rect(x - size, y - size, 2 * size, 2 * size);
    sign.moveTo(x - size / 2, y);
    sign.lineTo(x + size / 2, y);
    if (shape.kind === 'product') { sign.moveTo(x, y - size / 2); sign.lineTo(x, y + size / 2); }
    Object.assign(context, { fillStyle: DOT[shape.kind], strokeStyle: '#000000', lineWidth: 2 * unit });
    context.setLineDash([]);
    context.fill(dot);
    context.stroke(dot);
    context.stroke(sign);
  };
  const draw_shape = (context, shape, scale) => {
    const path = new Path2D();
    if (shape.points) {
      shape.points.forEach(([x, y], i) => i ? path.lineTo(x * scale, y * scale) : path.moveTo(x * scale, y * scale));
      if (shape.points.length === 1) path.lineTo(shape.points[0][0] * scale + .01, shape.points[0][1] * scale);
      Object.assign(context, { lineCap: 'round', lineJoin: 'round', globalAlpha: .5, strokeStyle: INK[shape.kind],
                               lineWidth: 2 * shape.radius * scale });
      context.setLineDash([]);
      context.stroke(path);
      context.globalAlpha = 1;
    } else if (!shape.width && !shape.height) draw_click(context, shape, scale);
    else {
      path.rect(shape.x * scale, shape.y * scale, shape.width * scale, shape.height * scale);
      line(context, path, INK[shape.kind], 2, shape.kind === 'not' ? [8, 6] : []);
    }
  };
  const draw = () => {
    const context = fit(drawing), scale = drawing.width / size()[0], kind = PRODUCES[tool()];
    for (const shape of model.get('shapes')) if (!shape.points) draw_shape(context, shape, scale);
    for (const shape of fresh) draw_shape(context, shape, scale);
    if (stroke) draw_shape(context, stroke, scale);
    if (pointer && (kind === 'brush' || kind === 'erase')) {
      const ring = new Path2D();
      ring.arc(pointer[0] * scale, pointer[1] * scale, Math.max(1, model.get('brush') * scale), 0, 2 * Math.PI);
      line(context, ring, INK[kind], 1);
    }
  };


  // ---- the pointer: mouse, pen or finger
  // Its place is kept as a fraction of the picture *as shown*, so that it is right at every zoom. A stroke belongs to
  // the finger that began it, and to the picture on which it was begun.
  const place = event => {                  // pixels of the full image
    const box = drawing.getBoundingClientRect(), [width, height] = size();
    return [round(clamp((event.clientX - box.left) / box.width, 0, 1) * width),
            round(clamp((event.clientY - box.top) / box.height, 0, 1) * height)];
  };
  let start = null;
  const reach = ([x, y]) => {               // a box between where the pointer went down and where it is
    Object.assign(stroke, { x: Math.min(x, start[0]), y: Math.min(y, start[1]),
                            width: round(Math.abs(x - start[0])), height: round(Math.abs(y - start[1])) });
  };
  // Which list of Python's a shape was added to: what Python sends while a message of ours is under way, ipywidgets
  // drops, so `drawn` may have gone on where `shapes` has not.
  let from = model.get('drawn');
  const add = shape => {
    adding = true;
    model.set('shapes', [...model.get('shapes'), shape]);
    adding = false;
    model.set('drawn_on', shown);           // Python may have gone on to another picture meanwhile
    model.set('drawn_from', from);          // or may have taken something back
    model.save_changes();
  };
  let finger = null;                        // whose stroke it is: a second finger, or a palm, counts for nothing
  const other = event => stroke && event.pointerId !== finger;
  drawing.addEventListener('pointerdown', event => {
    const clicking = tool() === 'click';
    if (stroke || (event.button !== 0 && !(clicking && event.button === 2))) return;
    host.focus({ preventScroll: true });
    event.preventDefault();
    const kind = PRODUCES[tool()];
    start = place(event);
    if (!kind) { model.send({ click: start }); return; }
    if (clicking) {                         // Ctrl and click is a Mac's right button
      const not = event.button === 2 || event.shiftKey || event.ctrlKey, inside = size().map(side => side - .01);
      const [x, y] = start.map((value, axis) => Math.min(value, inside[axis]));
      add({ kind: not ? 'not' : 'product', x, y, width: 0, height: 0 });
      return;
    }
    finger = event.pointerId;
    drawing.setPointerCapture(finger);
    stroke = kind === 'brush' || kind === 'erase' ? { kind, radius: model.get('brush'), points: [start] } : { kind };
    if (!stroke.points) reach(start);
    draw();
  });
  drawing.addEventListener('pointermove', event => {
    if (other(event)) return;
    pointer = place(event);
    if (stroke?.points) {
      const apart = Math.max(size()[0] / drawing.clientWidth, stroke.radius / 8);
      for (const one of event.getCoalescedEvents?.() ?? [event]) {
        const [x, y] = place(one), [last_x, last_y] = stroke.points.at(-1);
        if (Math.hypot(x - last_x, y - last_y) >= apart) stroke.points.push([x, y]);
      }
    } else if (stroke) reach(pointer);
    draw();
  });
  drawing.addEventListener('pointerup', event => {
    if (!stroke || other(event) || event.button !== 0) return;
    const shape = stroke, least = LEAST * size()[0] / drawing.clientWidth;
    stroke = null;
    if (shape.points || (shape.width >= least && shape.height >= least)) {
      if (shape.points) fresh.push(shape);
      add(shape);
    }
    draw();
  });
  drawing.addEventListener('contextmenu', event => {        // neither the browser's menu nor the notebook's
    if (tool() === 'click') { event.preventDefault(); event.stopPropagation(); }
  });
  const cancel = () => { stroke = null; draw(); };
  for (const kind of ['pointercancel', 'lostpointercapture'])
    drawing.addEventListener(kind, event => { if (stroke && !other(event)) cancel(); });
  drawing.addEventListener('pointerleave', event => { if (!other(event)) { pointer = null; draw(); } });


  // ---- keys
  // A notebook has keys of its own (`a` adds a cell, `x` cuts one), so ours are caught before it sees them, and only
  // while the focus is in our part of the page and not in a text field. Other letters go nowhere, and a click beside
  // the controls gives the focus to the picture rather than to the notebook's cell. A key that is held down counts
  // once; those in `repeating` go on, but no faster than their pictures come: nobody accepts scenes that were never
  // seen.
  let asked = 0;                            // when a key was sent that has not been answered by a picture
  const on_blur = event => {                // a button that is disabled when it was pressed loses the focus: to us
    if (event.target.disabled && zone().contains(event.target)) setTimeout(() => host.focus({ preventScroll: true }));
  };
  const on_press = event => {               // beside the controls: the focus would go to the notebook's cell
    const settle = () => gone || zone().contains(document.activeElement) || host.focus({ preventScroll: true });
    if (model.get('shortcuts').length && zone().contains(event.target)) setTimeout(settle);
  };
  const on_key = event => {
    const target = event.target;
    if (gone || event.altKey || event.isComposing || !zone().contains(target) || typing(target)
        || sliding(target, event.key)) return;
    const taken = () => { event.preventDefault(); event.stopImmediatePropagation(); };
    if (event.key === 'Escape' && stroke) { cancel(); taken(); return; }
    if ((event.key === ' ' || event.key === 'Enter') && pressable(target)) return;
    const held = event.ctrlKey || event.metaKey ? 'Ctrl+' : '', known = model.get('shortcuts');
    const key = [held + event.key, held + event.key.toLowerCase()].find(name => known.includes(name));
    if (!key) {                             // no letter reaches the notebook: x would cut its cell
      if (known.length && !held && event.key.length === 1) event.stopPropagation();
      return;
    }
    taken();
    if (event.repeat && !model.get('repeating').includes(key)) return;
    if (event.repeat && performance.now() - asked < 400) return;      // held down: no faster than pictures come
    asked = performance.now();
    model.send({ key });
  };
  const heard = { click: on_press, pointerup: on_press, keydown: on_key, focusout: on_blur };
  for (const [kind, handler] of Object.entries(heard)) window.addEventListener(kind, handler, true);


  // ---- changes made in Python, and the end of a view
  const describe = () => {
    host.setAttribute('role', model.get('shortcuts').length ? 'application' : 'img');
    host.setAttribute('aria-label', model.get('label'));
    drawing.dataset.tool = tool();
    drawing.style.touchAction = tool() === 'none' ? 'auto' : 'none';
  };
  const watch = (names, handler) => {
    for (const name of names) model.on('change:' + name, handler);
    return () => { for (const name of names) model.off('change:' + name, handler); };
  };
  const ends = [
    watch([...LAYERS, 'caption', 'picture', 'drawn'], load),
    watch(['size', 'width', 'heat_opacity', 'mask_opacity', 'outline_opacity'], paint),
    watch(['shapes'], () => {
      if (!adding) from = model.get('drawn');
      fresh = fresh.filter(shape => model.get('shapes').includes(shape));
      draw();
    }),
    watch(['brush'], draw),
    watch(['label', 'shortcuts'], describe),
    watch(['tool'], () => { chosen = null; describe(); draw(); }),
  ];
  const sized = new ResizeObserver(paint);
  sized.observe(frame);
  window.addEventListener('resize', paint);                          // also when the page is zoomed
  describe();
  lay_out();
  load();
  return () => {                            // the view was removed
    gone = true;
    window.removeEventListener('click', on_choice, true);
    for (const [kind, handler] of Object.entries(heard)) window.removeEventListener(kind, handler, true);
    window.removeEventListener('resize', paint);
    sized.disconnect();
    for (const end of ends) end();
    for (const layer of Object.values(kept)) layer.bitmap?.close();
  };
}
export default { render };
