// A blurred picture that is sharp where the viewer looks with the mouse, as a jsPsych plugin after Kim et al. (2017,
// "BubbleView"). A click (or, in the mode `hover`, the pointer) uncovers a disc. Places are recorded in pixels of the
// picture's file, whatever size it has on the screen; times in seconds from when the picture appeared.
import session from "./session.js"

const { make } = session
const Type = jsPsychModule.ParameterType

function loaded(address) {
  return new Promise((resolve, reject) => {
    const image = new Image()
    image.onload = () => resolve(image)
    image.onerror = () => reject(new Error(`${address} cannot be shown`))
    image.src = address
  })
}

class AkvBubbles {
  constructor(jsPsych) { this.jsPsych = jsPsych }

  trial(display, trial) { this.look(display, trial) }       // jsPsych takes a promise's end for the trial's end

  async look(display, trial) {
    const facts = { stimulus: trial.stimulus, looks: [], failed: "", seconds: 0, width: 0, height: 0, scale: 0 }
    let sharp, blurred
    try { [sharp, blurred] = await Promise.all([loaded(trial.stimulus), loaded(trial.blurred)]) }
    catch (error) { this.jsPsych.finishTrial({ ...facts, failed: error.message }); return }
    const width = sharp.naturalWidth, height = sharp.naturalHeight, radius = trial.radius * Math.max(width, height)
    const canvas = make("canvas", { class: "akv-canvas", "data-scene": trial.stimulus })
    const stage = make("div", { class: "akv-stage" }, canvas)
    display.replaceChildren(stage)
    const scale = Math.min(window.innerWidth / width, window.innerHeight / height) * .96   // on screen, per pixel
    const fine = scale * (window.devicePixelRatio || 1)                                    // of the canvas
    canvas.style.width = `${scale * width}px`
    canvas.style.height = `${scale * height}px`
    canvas.width = Math.round(fine * width)
    canvas.height = Math.round(fine * height)
    const context = canvas.getContext("2d")
    const paint = place => {
      context.setTransform(fine, 0, 0, fine, 0, 0)
      context.drawImage(blurred, 0, 0, width, height)
      if (!place) return
      context.save()
      context.beginPath()
      context.arc(place[0], place[1], radius, 0, 2 * Math.PI)
      context.clip()
      context.drawImage(sharp, 0, 0, width, height)
      context.restore()
    }
    paint(null)
    const began = performance.now(), seconds = () => Math.round(performance.now() - began) / 1000
    const look = event => {
      const box = canvas.getBoundingClientRect()
      const place = [(event.clientX - box.left) / scale, (event.clientY - box.top) / scale]
      if (place[0] < 0 || place[1] < 0 || place[0] >= width || place[1] >= height) return
      facts.looks.push([Math.round(place[0] * 10) / 10, Math.round(place[1] * 10) / 10, seconds()])
      paint(place)
    }
    canvas.addEventListener(trial.mode === "hover" ? "pointermove" : "pointerdown", look)
    canvas.addEventListener("contextmenu", event => event.preventDefault())
    setTimeout(() => {
      this.jsPsych.finishTrial({ ...facts, seconds: seconds(), width, height, scale: Math.round(scale * 1000) / 1000 })
    }, trial.seconds * 1000)
  }
}

AkvBubbles.info = {
  name: "akv-bubbles",
  version: "1.0.0",
  parameters: {
    stimulus: { type: Type.IMAGE },                  // the sharp picture
    blurred: { type: Type.IMAGE },                   // the same, blurred, as large
    radius: { type: Type.FLOAT, default: .04 },      // of the disc, as a share of the picture's longer side
    seconds: { type: Type.FLOAT, default: 10 },      // that the picture is shown
    mode: { type: Type.STRING, default: "click" },   // click or hover
  },
  data: {},
}

export default AkvBubbles
