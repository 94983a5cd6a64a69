import "./styles/base.css";
import "./styles/shell.css";
import "./styles/widgets.css";
import { render } from "preact";
import { Shell } from "./app/shell.tsx";

const root = document.getElementById("app");
if (root) render(<Shell />, root);
